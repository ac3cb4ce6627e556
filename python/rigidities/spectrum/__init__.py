"""One decomposition of C and Λ, after which every λ is cheap: spectra, evidence, and its maximum.

Numbers only: nothing here depends on `Covariance` or `Hessian`.
"""
