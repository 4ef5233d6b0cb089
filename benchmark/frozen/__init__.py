"""What is computed once and then found on disk: local weights, teachers, features of frozen encoders."""
