"""What to compute next, and what more data would bring."""
