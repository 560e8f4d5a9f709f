"""``python -m rendermill`` and the ``rendermill`` command."""

from __future__ import annotations

from .commands import main

if __name__ == "__main__":
    raise SystemExit(main())
