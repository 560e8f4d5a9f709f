"""What a node may be set to: tags, when it may render, and what happens when its user returns.

Two owners, one rule. The node's own settings are those it was started with; they come with
`Hello`. The farm's are what an administrator has set for this node on the coordinator: field by
field they go before the node's own, until they are reset. Coordinator and node keep both and
combine them with `effective`, so a node that starts without its coordinator keeps the hours that
were set for it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from enum import Enum

from .schedule import ScheduleError, parse_schedule

TAGS_MAX = 32
TAG_MAX_CHARS = 64
IDLE_MAX_MINUTES = 7 * 24 * 60.0
LOAD_MIN = 0.01

_TAG = re.compile(r"[^\s,;\"\x00-\x1f]+")


class SettingsError(ValueError):
    """A setting that cannot be; one sentence that says what is wrong and what may be."""


class OnReturn(str, Enum):
    """What becomes of the frame in progress when the node may not render any more."""

    FINISH = "finish"
    """It is finished first; no other is begun."""
    HAND_BACK = "hand-back"
    """Blender is ended within a second or two, and the farm gives the frame to another node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """The settings of a node."""

    tags: tuple[str, ...] = ()
    """Words that jobs can ask for; sorted."""
    schedule: str = ""
    """When it may render, as `schedule` spells it, in the node's own time; '': always."""
    idle_minutes: float = 0.0
    """It renders only when nobody has touched the machine for so long; 0: whoever is there."""
    max_load: float = 0.0
    """It renders only while other processes use at most this part of the processors, 0 to 1;
    0: whatever they use."""
    on_return: OnReturn = OnReturn.FINISH

    @property
    def is_workstation(self) -> bool:
        """Whether anything keeps it from rendering at times: somebody works at this machine."""
        return bool(self.schedule or self.idle_minutes or self.max_load)


@dataclass(frozen=True, slots=True, kw_only=True)
class FarmSettings:
    """What the farm has set for a node; None: the node's own setting holds."""

    tags: tuple[str, ...] | None = None
    schedule: str | None = None
    idle_minutes: float | None = None
    max_load: float | None = None
    on_return: OnReturn | None = None


PLAIN = NodeSettings()
"""Of a node that always renders."""
NOTHING_SET = FarmSettings()

SETTING_NAMES = tuple(field.name for field in fields(FarmSettings))


def effective(own: NodeSettings, farm: FarmSettings) -> NodeSettings:
    """Return what holds: the farm's settings, the node's own where the farm has none."""
    return replace(own, **_given(farm))


def change(farm: FarmSettings, changes: FarmSettings, reset: tuple[str, ...]) -> FarmSettings:
    """Return the farm's settings after a change: first those named are reset, then set.

    Raises `SettingsError` for values that cannot be and names that are none.
    """
    for name in reset:
        if name not in SETTING_NAMES:
            raise SettingsError(
                f"A node has no setting {name!r}; the settings are {', '.join(SETTING_NAMES)}."
            )
    checked = check(replace(PLAIN, **_given(changes)))
    normal = {name: getattr(checked, name) for name in _given(changes)}
    return replace(replace(farm, **dict.fromkeys(reset)), **normal)


def _given(farm: FarmSettings) -> dict[str, object]:
    values = {name: getattr(farm, name) for name in SETTING_NAMES}
    return {name: value for name, value in values.items() if value is not None}


def check(settings: NodeSettings) -> NodeSettings:
    """Return the settings in their canonical form. Raises `SettingsError`."""
    tags = tuple(sorted(set(settings.tags)))
    if len(tags) > TAGS_MAX:
        raise SettingsError(f"A node has at most {TAGS_MAX} tags, not {len(tags)}.")
    for tag in tags:
        if not _TAG.fullmatch(tag) or len(tag) > TAG_MAX_CHARS:
            raise SettingsError(
                f"{tag[:TAG_MAX_CHARS]!r} is no tag: a tag is one word of at most {TAG_MAX_CHARS} "
                "characters without space, comma, semicolon or quotation mark."
            )
    if settings.idle_minutes and not 0 < settings.idle_minutes <= IDLE_MAX_MINUTES:
        raise SettingsError(
            f"{settings.idle_minutes:g} is no time without input: use minutes up to "
            f"{IDLE_MAX_MINUTES:g}, or 0 to render whoever is there."
        )
    if settings.max_load and not LOAD_MIN <= settings.max_load <= 1:
        raise SettingsError(
            f"{settings.max_load:g} is no load: use a part of the processors from {LOAD_MIN:g} to "
            "1, such as 0.5, or 0 to render whatever others use."
        )
    try:
        parsed = parse_schedule(settings.schedule)
    except ScheduleError as error:
        raise SettingsError(str(error)) from error
    # As it was typed: people look for their own words.
    schedule = "" if parsed.is_always else " ".join(settings.schedule.split())
    return replace(settings, tags=tags, schedule=schedule)
