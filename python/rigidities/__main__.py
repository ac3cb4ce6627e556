"""``python -m rigidities`` is the command ``rigidities``."""

from rigidities.cli import main

if __name__ == "__main__":
    main()
