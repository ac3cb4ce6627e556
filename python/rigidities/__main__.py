"""``python -m rigidities`` is the command ``rigidities``."""

from rigidities.cli.app import main

if __name__ == "__main__":
    main()
