"""What keeps Blender's main thread from waiting for the farm's thread: both share one interpreter.

Measured while a scene of 2,000 files was sent from a Blender: the one thing that held the
interpreter for long was Python's full garbage collection, 53 ms for the 95,000 objects that Blender
and its add-ons make at their start and keep. They are set aside once, when the client is loaded:
collections then look at what came later. Between threads that all want to run, the interpreter is
handed on every millisecond instead of every five.
"""

from __future__ import annotations

import gc
import sys

SWITCH_SECONDS = 0.001
"""With eight threads at work the main thread waits for its turn at most some 8 ms."""

_before: float | None = None


def begin() -> None:
    """Do it, once; `end` takes it back. Takes as long as a full collection."""
    global _before  # noqa: PLW0603 - of the whole interpreter, so of the module
    if _before is not None:
        return
    _before = sys.getswitchinterval()
    sys.setswitchinterval(min(_before, SWITCH_SECONDS))
    # What is garbage already must not be kept for ever.
    gc.collect()
    gc.freeze()


def end() -> None:
    """Leave the interpreter as it was."""
    global _before  # noqa: PLW0603
    if _before is None:
        return
    sys.setswitchinterval(_before)
    _before = None
    gc.unfreeze()
