"""What the farm has set for this node, kept for the next start; and settings in words."""

from __future__ import annotations

from pathlib import Path

from ..protocol.codec import CodecError, decode_json, encode_json
from ..protocol.node_settings import (
    NOTHING_SET,
    FarmSettings,
    NodeSettings,
    OnReturn,
    SettingsError,
    change,
)
from .identity import write_durably


class SettingsUnreadable(Exception):
    """A file of settings that cannot be used; one sentence that says what happens now."""


class SettingsFile:
    """The file with the settings of one farm. Its methods block."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> FarmSettings:
        """Return what was stored last. Raises `SettingsUnreadable`."""
        try:
            stored = decode_json(self._path.read_bytes(), FarmSettings)
            return change(NOTHING_SET, stored, ())
        except FileNotFoundError:
            return NOTHING_SET
        except (OSError, CodecError, SettingsError) as error:
            raise SettingsUnreadable(
                f"The file {self._path} with the settings of this node cannot be read ({error}); "
                "those it was started with hold until the coordinator says others."
            ) from error

    def store(self, settings: FarmSettings) -> None:
        """Keep them through a power cut. Raises `OSError`."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(self._path, encode_json(settings))


def describe(settings: NodeSettings) -> str:
    """Return settings as a clause for people: "tags fast; when its user was away for 10 min"."""
    parts: list[str] = []
    if settings.tags:
        parts.append(f"tags {', '.join(settings.tags)}")
    if settings.schedule:
        parts.append(f"only {settings.schedule}")
    if settings.idle_minutes:
        parts.append(f"only when nobody has touched it for {settings.idle_minutes:g} min")
    if settings.max_load:
        parts.append(f"only while others use at most {settings.max_load:.0%} of its processors")
    if settings.is_workstation:
        finish = settings.on_return is OnReturn.FINISH
        parts.append("then the frame is finished" if finish else "then the frame is handed back")
    return "; ".join(parts) or "it always renders"
