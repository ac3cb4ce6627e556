"""The command line: one file for each command, and the only part of the package that prints.

An input that cannot be used gives one line on stderr and exit code 2, Ctrl-C one line and exit code
130. Any other error is a bug and shows its traceback. Heavy modules are imported only when they are
needed, so that `rigidities --help` is fast. Here nothing is imported before Ctrl-C is answered.
"""

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line."""
    from rigidities.cli.interrupts import leave_on_interrupt

    leave_on_interrupt()

    from rigidities.cli.application import run

    run()


def __getattr__(name: str) -> object:
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from rigidities.cli.application import app

    return app
