"""The command line: one file for each command, and the only part of the package that prints.

An input that cannot be used gives one line on stderr and exit code 2, Ctrl-C exit code 130. Any
other error is a bug and shows its traceback. Heavy modules are imported only when they are needed,
so that `rigidities --help` is fast.
"""

from rigidities.cli.app import app, main

__all__ = ["app", "main"]
