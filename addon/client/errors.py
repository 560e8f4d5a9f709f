"""What may go wrong on the artist's side; each message is for the artist."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...protocol.scene import MissingFile


class ClientError(Exception):
    """Something on this machine stands in the way; the text says what and what to do."""


class UnreadableFile(ClientError):
    """A file of the scene that cannot be read."""

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(f"{path} cannot be read ({error.strerror or error}).")
        self.path = path


class ChangedFile(ClientError):
    """A file of the scene that changed while it was read or sent."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} changed while it was being sent; wait until the program that writes it is "
            "done, then submit again."
        )
        self.path = path


class MissingFiles(ClientError):
    """The scene names files that this machine does not have, and nobody said to send it anyway."""

    SHOWN = 5

    def __init__(self, missing: Sequence[MissingFile]) -> None:
        names = "; ".join(f"{file.source} ({file.user})" for file in missing[: self.SHOWN])
        more = f"; and {len(missing) - self.SHOWN} more" if len(missing) > self.SHOWN else ""
        count = "1 file is" if len(missing) == 1 else f"{len(missing)} files are"
        super().__init__(
            f"{count} missing: {names}{more}. Find them (File > External Data), or send the scene "
            "anyway and let Blender render without them."
        )
        self.missing = tuple(missing)


class DeliveryError(ClientError):
    """A finished frame that cannot be put where it belongs."""


class FolderNeeded(DeliveryError):
    """A job whose files can only come home into another folder; ``what`` says why."""

    def __init__(self, what: str, job: str) -> None:
        super().__init__(f"{what} Into another folder: `rendermill fetch {job} --output FOLDER`.")
        self.what = what
