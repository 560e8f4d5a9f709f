"""A scene as files, each an ordered list of chunks named by their SHA-256.

The manifest itself travels as a blob: its hash names the exact scene, so a node knows at once
whether it already holds it, and two jobs on one scene share everything.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

CHUNK_MAX_BYTES = 1024 * 1024
"""No chunk is longer. One chunk is held in memory at a time on every side."""

MANIFEST_MAX_BYTES = 256 * 1024 * 1024
"""About 3 million chunks, or 3 TiB of scene."""

PATH_MAX_CHARS = 1024
PART_MAX_BYTES = 255
"""Longest file name of ext4, APFS and NTFS."""

_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")
_FORBIDDEN = re.compile(r'[\x00-\x1f<>:"|?*\\]')


class ManifestError(ValueError):
    """A manifest or a path in it that cannot be accepted; the message is for people."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """``length`` bytes whose SHA-256 is ``sha256`` (64 lower-case hex digits)."""

    sha256: str
    length: int


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """One file of the scene: where it stands in the job's tree and what it is made of."""

    path: str
    """Relative POSIX path, checked by `check_path`."""
    chunks: tuple[Chunk, ...]

    @property
    def length(self) -> int:
        """Bytes of the whole file."""
        return sum(chunk.length for chunk in self.chunks)


@dataclass(frozen=True, slots=True)
class Manifest:
    """Every file of a scene, sorted by path, each path once."""

    files: tuple[ManifestFile, ...]

    def blobs(self) -> dict[str, int]:
        """Distinct chunk hashes with their lengths, in order of first use."""
        return {chunk.sha256: chunk.length for file in self.files for chunk in file.chunks}

    @property
    def length(self) -> int:
        """Bytes of all files together, before any sharing of chunks."""
        return sum(file.length for file in self.files)


def check_path(path: str) -> str:
    """Return ``path`` if it is safe to create on every system a node may run, else raise.

    Relative, POSIX separators, NFC, no ``.``, ``..``, empty part, drive, UNC, control character,
    character or name reserved on Windows, trailing dot or space.
    """
    if not path or len(path) > PATH_MAX_CHARS:
        raise ManifestError(f"A path of the scene must have 1 to {PATH_MAX_CHARS} characters.")
    if unicodedata.normalize("NFC", path) != path:
        raise ManifestError(f"The path {path!r} is not in Unicode form NFC.")
    for part in path.split("/"):
        reason = _part_problem(part)
        if reason:
            raise ManifestError(
                f"The path {path!r} cannot be created safely on every node: {reason}."
            )
    return path


def path_problem(path: str) -> str:
    """Return why a file that lies at ``path`` here cannot have that name on every node.

    ``path`` may be absolute and of any system; a part of a sentence, '' where nothing is wrong.
    """
    windows = re.match(r"[A-Za-z]:[\\/]|\\\\", path) is not None
    parts = [part for part in re.split(r"[\\/]" if windows else "/", path) if part]
    if windows and path[1] == ":":
        del parts[0]
    reasons = (_part_problem(unicodedata.normalize("NFC", part)) for part in parts)
    return next((reason for reason in reasons if reason), "")


def _part_problem(part: str) -> str:  # noqa: PLR0911 - one return for each rule
    if part == "":
        return "a part of it is empty"
    if part in (".", ".."):
        return f"it leads through {part!r}"
    if any(0xD800 <= ord(char) <= 0xDFFF for char in part):
        return f"{part!r} is not Unicode"
    if len(part.encode("utf-8")) > PART_MAX_BYTES:
        return f"{part[:40]!r}... is longer than the {PART_MAX_BYTES} bytes that a name may have"
    forbidden = _FORBIDDEN.search(part)
    if forbidden:
        return f"{part!r} has {forbidden[0]!r} in it, which Windows does not allow in names"
    if _RESERVED.fullmatch(part):
        return f"{part!r} is a name that Windows keeps for itself"
    if part[-1] in ". ":
        return f"{part!r} ends in {'a dot' if part[-1] == '.' else 'a space'}, which Windows drops"
    return ""
