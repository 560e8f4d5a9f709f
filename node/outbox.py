"""Finished frames that the farm has not acknowledged yet, safe on disk.

A frame is a folder ``<outbox>/<farm id>/<name>/`` with its files ``0``, ``1``, ... and
``record``. It is filled under a name that starts with a dot, every byte is fsynced, then the
folder gets its name: what has a name is whole. A node that was killed finds its frames here when
it starts again and delivers them under its new incarnation. Disks damage what they keep: record and
files are hashed again then, and the coordinator hashes once more what it is sent.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..protocol.codec import CodecError, decode_json, encode_json
from ..protocol.manifest import check_path
from ..protocol.messages import (
    LOG_LINE_MAX_CHARS,
    LOG_LINES_MAX,
    FrameDone,
    FrameFile,
    FrameRef,
    FrameStats,
)
from .cache import remove
from .identity import sync_folder

_RECORD = "record"
"""The record as JSON, under a first line with its SHA-256: one flipped bit may make another."""
_THUMBNAIL = "thumbnail"
_PREVIEW = "preview"
_HASH_PIECE_BYTES = 1024 * 1024
WARNINGS_MAX = 50

FrameKey = tuple[str, int, int]
"""Job, generation, frame: what a result is for, whatever the lease."""


def key_of(frame: FrameRef) -> FrameKey:
    """Return what a lease is about."""
    return (frame.job, frame.generation, frame.frame)


class OutboxError(Exception):
    """Why a finished frame could not be kept; one sentence for people."""


@dataclass(frozen=True, slots=True)
class Made:
    """A file on its way into the outbox."""

    root: str
    path: str
    source: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    done: FrameDone
    thumbnail_length: int = 0
    preview_length: int = 0


@dataclass(frozen=True, slots=True)
class Parcel:
    """One finished frame on disk and the message that will tell of it."""

    folder: Path
    done: FrameDone
    thumbnail_length: int
    preview_length: int = 0

    @property
    def key(self) -> FrameKey:
        """What it is the result of."""
        return key_of(self.done.frame)

    def blobs(self) -> tuple[tuple[Path, str, int], ...]:
        """(file, SHA-256, length) of everything to upload, each blob once."""
        found = {
            file.sha256: (self.folder / str(index), file.sha256, file.length)
            for index, file in enumerate(self.done.files)
        }
        if self.done.thumbnail:
            found.setdefault(
                self.done.thumbnail,
                (self.folder / _THUMBNAIL, self.done.thumbnail, self.thumbnail_length),
            )
        if self.done.preview:
            found.setdefault(
                self.done.preview,
                (self.folder / _PREVIEW, self.done.preview, self.preview_length),
            )
        return tuple(found.values())


class Outbox:
    """The finished frames for one farm. All methods block; call them from a thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self) -> tuple[list[Parcel], list[str]]:
        """Return the frames an earlier process left, oldest first, and what was wrong with others.

        What cannot be delivered is removed; each sentence says why.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        parcels: list[tuple[float, Parcel]] = []
        problems: list[str] = []
        for entry in sorted(self.folder.iterdir()):
            if entry.name.startswith("."):
                remove(entry)  # Never got its name: the frame was not finished.
                continue
            try:
                parcels.append((entry.stat().st_mtime, _read(entry)))
            except (OSError, CodecError) as error:
                problems.append(
                    f"A finished frame in {entry} is damaged and was dropped ({error}); "
                    "the farm renders it again."
                )
                remove(entry)
        parcels.sort(key=lambda parcel: parcel[0])
        return [parcel for _, parcel in parcels], problems

    def put(
        self,
        frame: FrameRef,
        files: Iterable[Made],
        *,
        stats: FrameStats,
        thumbnail: Path | None = None,
        preview: Path | None = None,
        log: tuple[str, ...] = (),
        warnings: tuple[str, ...] = (),
    ) -> Parcel:
        """Take a frame's files over (they are moved) and make it durable. Raises `OutboxError`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        target = self.folder / _name(key_of(frame))
        filling = self.folder / f".{target.name}.{secrets.token_hex(4)}"
        try:
            filling.mkdir()
            kept: list[FrameFile] = []
            for index, made in enumerate(files):
                sha256, length = _take(made.source, filling / str(index))
                kept.append(
                    FrameFile(
                        root=made.root,
                        # An artist on macOS may have typed the name in another form of Unicode.
                        path=check_path(unicodedata.normalize("NFC", made.path)),
                        sha256=sha256,
                        length=length,
                    )
                )
            small, small_length = ("", 0)
            if thumbnail is not None:
                small, small_length = _take(thumbnail, filling / _THUMBNAIL)
            large, large_length = ("", 0)
            if preview is not None:
                large, large_length = _take(preview, filling / _PREVIEW)
            done = FrameDone(
                frame=frame,
                files=tuple(kept),
                stats=stats,
                thumbnail=small,
                preview=large,
                log=bounded_log(log),
                warnings=tuple(text[:LOG_LINE_MAX_CHARS] for text in warnings[:WARNINGS_MAX]),
            )
            record = _Record(done=done, thumbnail_length=small_length, preview_length=large_length)
            with (filling / _RECORD).open("xb") as file:
                data = encode_json(record)
                file.write(f"{hashlib.sha256(data).hexdigest()}\n".encode() + data)
                file.flush()
                os.fsync(file.fileno())
            sync_folder(filling)
            remove(target)
            filling.rename(target)
            sync_folder(self.folder)
        except (OSError, ValueError) as error:
            remove(filling)
            raise OutboxError(_explain(error, self.folder)) from error
        except BaseException:
            remove(filling)
            raise
        return Parcel(target, done, small_length, large_length)

    def drop(self, parcel: Parcel) -> None:
        """The farm has it, or does not want it."""
        # First out of sight: a crash in between must not leave a frame that is half there.
        hidden = self.folder / f".{parcel.folder.name}.{secrets.token_hex(4)}"
        try:
            parcel.folder.rename(hidden)
        except FileNotFoundError:
            return
        remove(hidden)


def bounded_log(lines: tuple[str, ...]) -> tuple[str, ...]:
    """The last lines of a log, as many and as long as a message may carry."""
    kept = [line[:LOG_LINE_MAX_CHARS] for line in lines[-LOG_LINES_MAX:]]
    if len(lines) > LOG_LINES_MAX:
        kept[0] = f"... {len(lines) - LOG_LINES_MAX + 1} earlier lines left out"
    return tuple(kept)


def _name(key: FrameKey) -> str:
    # The job's id comes from the network: it must not become a path.
    return hashlib.sha256(repr(key).encode()).hexdigest()[:32]


def _take(source: Path, target: Path) -> tuple[str, int]:
    """Move a file and make its bytes durable; return its SHA-256 and length."""
    try:
        source.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.copyfile(source, target)
    digest = hashlib.sha256()
    length = 0
    # Opened for writing: Windows refuses to fsync a file that is open for reading only.
    with target.open("r+b") as file:
        while piece := file.read(_HASH_PIECE_BYTES):
            digest.update(piece)
            length += len(piece)
        os.fsync(file.fileno())
    return digest.hexdigest(), length


def _read(folder: Path) -> Parcel:
    name, _, data = (folder / _RECORD).read_bytes().partition(b"\n")
    if hashlib.sha256(data).hexdigest().encode() != name:
        raise CodecError("its record is not what was written")
    record = decode_json(data, _Record)
    parcel = Parcel(folder, record.done, record.thumbnail_length, record.preview_length)
    for path, sha256, length in parcel.blobs():
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                raise CodecError(f"the {length} bytes of file {path.name} are not what was written")
    return parcel


def _explain(error: OSError | ValueError, folder: Path) -> str:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"The disk with the outbox {folder} is full: the finished frame could not be kept. "
            "Make room there."
        )
    why = error.strerror if isinstance(error, OSError) and error.strerror else error
    return f"The finished frame could not be kept in {folder}: {why}."
