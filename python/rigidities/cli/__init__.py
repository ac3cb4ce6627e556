"""The command line: one file a command, and the only part of the package that prints.

An input that cannot be used is named in one line on stderr, with exit code 2. Ctrl-C ends with 130.
Anything else that goes wrong is a bug and shows its traceback. Nothing heavy is imported before it
is needed: `rigidities --help` answers at once.
"""

from rigidities.cli.app import app, main

__all__ = ["app", "main"]
