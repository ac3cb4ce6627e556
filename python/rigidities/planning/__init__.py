"""What the training data do for a prediction, and what to compute next."""
