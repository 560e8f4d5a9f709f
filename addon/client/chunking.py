"""Files to chunks: streamed, hashed in threads, never a whole file in memory.

A .blend is cut at its blocks (`blend_chunking`). Every other file is cut every 1 MiB: textures,
caches and movies are replaced as a whole or grow at their end, compressed formats change
everywhere after an edit, and content-defined cuts, which would only help against insertions in the
middle, cost a pass over every byte that Python cannot make at the speed of a disk.

A chunk is 1 to `CHUNK_MAX_BYTES` long, so its bytes are read again from a known offset when it must
be sent, and its hash is verified then: a file that changed in between is noticed, by name.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ...protocol.manifest import Chunk
from .blend_chunking import split_blend
from .errors import ChangedFile, UnreadableFile

CHUNKING_VERSION = 1
"""Raised when the cuts change, so that remembered chunks are not mixed with new ones."""
READ_ATTEMPTS = 3
"""A file that is being written is tried again this often before it is an error."""
_BUFFER_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Signature:
    """What tells a file from its earlier self without reading it."""

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> Signature:
        """Return the signature of ``path`` as it is now. Raises OSError."""
        return cls._from(path.stat())

    @classmethod
    def of_open(cls, file: BinaryIO) -> Signature:
        """Return the signature of an open file as it is now. Raises OSError."""
        return cls._from(os.fstat(file.fileno()))

    @classmethod
    def _from(cls, stat: os.stat_result) -> Signature:
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ino)


@dataclass(frozen=True, slots=True)
class ChunkedFile:
    """A file of this machine and the chunks it was made of when ``signature`` was taken."""

    source: Path
    signature: Signature
    chunks: tuple[Chunk, ...]


def chunk_file(
    path: Path,
    *,
    hashed: Callable[[int], None] | None = None,
    found: Callable[[Chunk, bytes], None] | None = None,
) -> ChunkedFile:
    """Cut and hash a file. Blocks: call it in a thread; hashing leaves the interpreter free.

    ``hashed`` hears the bytes of each chunk as it is done; raising in it stops the work. ``found``
    is given each chunk with its bytes, also those of a file that then turns out to have changed.
    Raises `ChangedFile` when the file keeps changing while it is read, `UnreadableFile` naming it.
    """
    try:
        for _ in range(READ_ATTEMPTS):
            with path.open("rb", buffering=_BUFFER_BYTES) as file:
                before = Signature.of_open(file)
                chunks = _chunk(file, before.size, hashed, found)
                after = Signature.of_open(file)
            # By path too: programs often save by writing anew and renaming over the old file.
            if before == after == Signature.of(path) and before.size == sum(
                chunk.length for chunk in chunks
            ):
                return ChunkedFile(path, before, chunks)
            if hashed is not None:
                hashed(-sum(chunk.length for chunk in chunks))
    except OSError as error:
        raise UnreadableFile(path, error) from error
    raise ChangedFile(path)


def _chunk(
    file: BinaryIO,
    size: int,
    hashed: Callable[[int], None] | None,
    found: Callable[[Chunk, bytes], None] | None,
) -> tuple[Chunk, ...]:
    chunks: list[Chunk] = []
    for piece in split_blend(file):
        size -= len(piece)
        if size < 0:
            # It grows while it is read, perhaps for ever.
            break
        chunk = Chunk(hashlib.sha256(piece).hexdigest(), len(piece))
        chunks.append(chunk)
        if found is not None:
            found(chunk, piece)
        if hashed is not None:
            hashed(len(piece))
    return tuple(chunks)


def read_chunk(path: Path, offset: int, chunk: Chunk) -> bytes:
    """Return a chunk's bytes, verified. Raises `ChangedFile` when they are others now.

    Raises `UnreadableFile` when the file cannot be read any more.
    """
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(offset)
            data = file.read(chunk.length)
            # A raw read may give less than asked for near signals or on network drives.
            while len(data) < chunk.length and (more := file.read(chunk.length - len(data))):
                data += more
    except OSError as error:
        raise UnreadableFile(path, error) from error
    if len(data) != chunk.length or hashlib.sha256(data).hexdigest() != chunk.sha256:
        raise ChangedFile(path)
    return data
