"""Bridges to other libraries: one file or folder for each, imported only on demand."""
