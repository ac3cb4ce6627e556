"""Structures as ASE holds them: files, species, reference values, rows of a loss. ASE is the only foreign library."""
