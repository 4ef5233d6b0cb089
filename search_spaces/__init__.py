"""What is searched: one file a method, with its options, its Optuna space and its published points."""
