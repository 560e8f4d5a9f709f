"""How a command tells a script what happened."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every subcommand."""

    DONE = 0
    """What was asked for is done."""
    FAILED = 1
    """The job failed or was cancelled, or the scene cannot be sent."""
    USAGE = 2
    """Wrong usage: an argument that cannot be, or a job that does not exist."""
    NO_COORDINATOR = 3
    """No coordinator found, or it does not answer, or it speaks another protocol."""
    NOT_ALLOWED = 4
    """The token is wrong or its role may not do this."""
    INTERRUPTED = 130
    """Stopped by Ctrl-C, as shells count it."""


class UsageError(Exception):
    """An argument that cannot be; the text says what is wrong and what to write."""
