"""Memory, LAPACK and threads of this process; nothing here depends on rigidities."""
