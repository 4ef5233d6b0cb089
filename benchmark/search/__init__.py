"""The search: Optuna studies that are asked and told, run by Ray Tune; what is chosen, and its evaluation on test."""
