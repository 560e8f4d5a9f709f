"""The ``rendermill`` command: one module per subcommand."""

from __future__ import annotations


def main() -> int:
    """Run the command line and return its exit code."""
    raise SystemExit(2)
