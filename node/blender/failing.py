"""Why an attempt failed: from what Blender said and how its process ended."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from ...protocol.messages import FailureKind
from .attempt import AttemptFailed
from .process import BlenderProcess, describe_exit

_NO_MEMORY = re.compile(
    r"(?i)bad_alloc|[MC]alloc(?:N|_array)? returns null|MemoryError|insufficient memory"
    # "System is out of GPU memory", CUDA_ERROR_OUT_OF_MEMORY, hipErrorOutOfMemory,
    # UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY.
    r"|out[_ ]?of[_ ]?(?:[a-z]+[_ ])?memory"
)
_NO_SPACE = re.compile(r"(?i)no space left|disk (?:is )?full|quota exceeded")

_SIGKILL = 9


def ran_out_of_memory(log: Iterable[str]) -> bool:
    """Whether a log says that there was no memory left."""
    return any(_NO_MEMORY.search(line) for line in log)


def refusal(reply: dict[str, Any], log: tuple[str, ...]) -> AttemptFailed:
    """Return what a reply of kind ``failed`` means."""
    reason = str(reply["reason"])
    kind = FailureKind(reply["failure"])
    if _NO_MEMORY.search(reason):
        kind = FailureKind.MEMORY
    elif _NO_SPACE.search(reason):
        kind = FailureKind.NODE
    return AttemptFailed(kind, reason, log)


def unexpected_end(process: BlenderProcess, returncode: int) -> AttemptFailed:
    """Return what the end of a process means that nobody had asked to end."""
    number, how = describe_exit(returncode)
    log = tuple(process.log)
    if number == _SIGKILL and process.was_killed_for_memory():
        return AttemptFailed(
            FailureKind.MEMORY,
            f"The system killed Blender for want of memory (SIGKILL){_used(process)}.",
            log,
        )
    if ran_out_of_memory(log):
        return AttemptFailed(
            FailureKind.MEMORY, f"Blender ran out of memory and {how}{_used(process)}.", log
        )
    return AttemptFailed(FailureKind.CRASH, f"Blender {how}.", log)


def _used(process: BlenderProcess) -> str:
    return f"; it had used {process.peak_bytes >> 20} MiB" if process.peak_bytes else ""
