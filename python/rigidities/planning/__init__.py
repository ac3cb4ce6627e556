"""What the data do for a prediction, what to compute next, what more data would bring."""
