"""What a check has found: a sentence, a reason, what to do, and a repair where one can be made."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from .steps import Elsewhere


class Severity(str, Enum):
    """How bad a finding is."""

    FATAL = "fatal"
    """No frame would come out; not sent."""
    ERROR = "error"
    """Frames would come out wrong; sent only when the artist insists."""
    WARNING = "warning"
    """Frames may come out different from here."""
    INFO = "info"
    """Good to know."""


class RepairError(RuntimeError):
    """A repair could not be made: the scene is another by now; one sentence for people."""


@dataclass(frozen=True, slots=True)
class Repair:
    """What a button beside a finding does."""

    label: str
    """Text of the button: ``Save the File``."""
    apply: Callable[[], None]
    """Makes the repair, in Blender's main thread. Finds data by name, since a finding outlives what
    it is about. Leaves the undo step to the operator that calls it. Raises `RepairError`."""
    opens_dialog: bool = False
    """It only opens a dialog of Blender's own; what the artist does there comes later."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know about a scene before it is sent, each text a sentence or ''."""

    severity: Severity
    what: str
    why: str = ""
    """Why it matters on a farm."""
    fix: str = ""
    """What to do by hand."""
    id: str = ""
    """What kind of finding it is, the same in every scene and version: ``no_camera``."""
    repair: Repair | None = None

    @property
    def may_send(self) -> bool:
        """Whether the scene can be sent all the same."""
        return self.severity is not Severity.FATAL


Findings = Generator[Finding | Elsewhere | None, Any, None]
"""What a check yields: what it finds, and the steps of `steps` where it takes long."""


NAMES_MAX = 8
"""Names spelled out in one finding; of more, the number is said."""


def listed(names: list[str]) -> str:
    """Return names as a part of a sentence, the first `NAMES_MAX` of them."""
    shown = ", ".join(names[:NAMES_MAX])
    more = len(names) - NAMES_MAX
    return f"{shown} and {more} more" if more > 0 else shown


def count_of(number: int, one: str, many: str) -> str:
    """Return ``1 file`` or ``7 files``."""
    return f"{number} {one if number == 1 else many}"
