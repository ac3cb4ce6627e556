"""Memory, LAPACK and threads as this process finds them; nothing here knows of rigidities."""
