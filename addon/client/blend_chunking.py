"""Cut a .blend where its own structure is, so that a second save shares most of its chunks.

Every save writes the memory address of each block into the block's header, and structs hold the
addresses of others; in a new Blender they all differ. What does not differ is the raw data behind
them: vertices, packed images, curves, volumes. So a payload of `PAYLOAD_MIN_BYTES` and more becomes
chunks of its own, without the header before it, and all that is small (headers, structs) is
gathered into runs between. Runs end at a block chosen by its content, so that moving one object
re-sends one run where addresses hold still: within one session, and in snapshots (`settling`).

What does not fit is cut at fixed lengths from there on; nothing is ever refused here, and the
chunks joined are the file, always. Compressed files (zstd, gzip) have no visible blocks: a
generic cut serves them (`chunking`).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import BinaryIO

from ...protocol.manifest import CHUNK_MAX_BYTES
from .blend_structure import HEAD_BYTES, read_layout

PAYLOAD_MIN_BYTES = 4 * 1024
"""Smaller payloads are not worth a chunk: its name, header and file cost 100 bytes and an fsync."""
RUN_MIN_BYTES = 16 * 1024
RUN_MAX_BYTES = 256 * 1024
RUN_DIVISOR = 32
"""Past `RUN_MIN_BYTES` one block in so many ends the run; blocks there have some 400 bytes."""
_WINDOW_BYTES = CHUNK_MAX_BYTES
"""Read at once; a chunk always fits."""


def split_blend(file: BinaryIO) -> Iterator[bytes]:
    """Give the chunks of a file at its start, in order; each 1 to `CHUNK_MAX_BYTES`.

    Holds a window, a chunk and a run in memory, and no more. Raises OSError.
    """
    data = file.read(CHUNK_MAX_BYTES)
    layout = read_layout(data[:HEAD_BYTES])
    if layout is None:
        if data:
            yield data
        yield from split_fixed(file)
        return
    # A scene has a million small blocks: they are passed by their headers, and copied as a run.
    unpack, size, length_field = layout.header.unpack_from, layout.header.size, layout.length_field
    begin, at = 0, layout.start
    """Where the run begins and the next block does, in the window."""
    while True:
        if at + size > len(data):
            data, at, begin = data[begin:] + file.read(_WINDOW_BYTES), at - begin, 0
            if at + size > len(data):
                at = len(data)
                break
        fields = unpack(data, at)
        length: int = fields[length_field]
        at += size
        if fields[0] == b"ENDB" or length < 0:
            break
        if length < PAYLOAD_MIN_BYTES:
            if at + length > len(data):
                data, at, begin = data[begin:] + file.read(_WINDOW_BYTES), at - begin, 0
            end = min(at + length, len(data))
            if end - begin >= RUN_MIN_BYTES and _ends_run(end - begin, data[at:end]):
                yield data[begin:end]
                begin = end
            at = end
            continue
        yield data[begin:at]
        while length > 0:
            wanted = min(length, CHUNK_MAX_BYTES)
            if at + wanted > len(data):
                data, at = data[at:] + file.read(_WINDOW_BYTES), 0
            piece = data[at : at + wanted]
            if not piece:
                break
            yield piece
            at += len(piece)
            length -= len(piece)
        begin = at
    yield from _split_rest(data[begin:at], data[at:], file)


def _split_rest(run: bytes, ahead: bytes, file: BinaryIO) -> Iterator[bytes]:
    """Give the last run and what follows: after the last block, or no blocks as it turned out."""
    while rest := ahead + file.read(CHUNK_MAX_BYTES - len(ahead)):
        ahead = b""
        if len(run) + len(rest) > CHUNK_MAX_BYTES:
            yield run
            run = b""
        run += rest
    if run:
        yield run


def split_fixed(file: BinaryIO) -> Iterator[bytes]:
    """Give what is left of a file in pieces of `CHUNK_MAX_BYTES`, the last one shorter."""
    while piece := file.read(CHUNK_MAX_BYTES):
        yield piece


def _ends_run(run_length: int, payload: bytes) -> bool:
    # By the payload alone: the header's address differs at every save.
    return run_length >= RUN_MAX_BYTES or zlib.crc32(payload) % RUN_DIVISOR == 0
