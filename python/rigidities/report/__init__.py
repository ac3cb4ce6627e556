"""Reports of rigidities and fitted models as text, figures and files. Nothing here prints."""
