"""What to compute next: which data would say most about a model, or about some predictions."""
