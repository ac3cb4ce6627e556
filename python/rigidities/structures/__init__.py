"""Structures of ASE: files, species, reference values, and the rows of a loss."""
