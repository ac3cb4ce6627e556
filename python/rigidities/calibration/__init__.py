"""σ from residuals and variances alone: its scale, the noise beside it, and a factor by kind."""
