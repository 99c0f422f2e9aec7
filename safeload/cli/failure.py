"""How a command ends when it does not do what it was asked: the exit codes, and errors that say what to do next."""

from __future__ import annotations

from typing import Final

import click

__all__ = ["EXIT_INTERRUPTED", "EXIT_NO", "EXIT_NOT_SCANNED", "EXIT_USAGE", "EXIT_YES", "Failure", "os_reason"]

EXIT_YES: Final = 0
EXIT_NO: Final = 1  # findings, not verified, drift: the question was answered
EXIT_USAGE: Final = 2  # usage or internal error: the question was not answered
EXIT_NOT_SCANNED: Final = 3
EXIT_INTERRUPTED: Final = 130


class Failure(click.ClickException):
    """An error for the person at the terminal: what is wrong, and on a second line what to do next."""

    def __init__(self, message: str, hint: str = "", *, exit_code: int = EXIT_USAGE) -> None:
        super().__init__(message)
        self.hint = hint
        self.code = exit_code


def os_reason(error: OSError) -> str:
    """What the operating system says, without Python's decoration."""
    return (error.strerror or type(error).__name__).lower()
