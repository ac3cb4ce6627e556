"""Text, figures and files that show rigidities and fitted models to people. Nothing here prints."""
