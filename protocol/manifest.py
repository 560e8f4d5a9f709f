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
        if (
            part in ("", ".", "..")
            or len(part.encode("utf-8", "surrogatepass")) > PART_MAX_BYTES
            or part[-1] in ". "
            or _FORBIDDEN.search(part)
            or _RESERVED.fullmatch(part)
            or any(0xD800 <= ord(char) <= 0xDFFF for char in part)
        ):
            raise ManifestError(f"The path {path!r} cannot be created safely on every node.")
    return path
