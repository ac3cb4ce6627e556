"""Structures as ASE holds them: files, species, labels, and extended XYZ. ASE is the only foreign library here."""
