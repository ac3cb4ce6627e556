"""What people read of rigidities and of fitted models: text, figures and files. Nothing here prints."""
