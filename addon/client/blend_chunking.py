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


def split_blend(file: BinaryIO) -> Iterator[bytes]:
    """Give the chunks of a file at its start, in order; each 1 to `CHUNK_MAX_BYTES`.

    Holds at most a chunk and a run in memory. Raises OSError.
    """
    layout = read_layout(file.read(HEAD_BYTES))
    file.seek(0)
    if layout is None:
        yield from split_fixed(file)
        return
    run = bytearray(file.read(layout.start))
    while True:
        header = file.read(layout.header.size)
        run += header
        if len(header) < layout.header.size:
            break
        fields = layout.header.unpack(header)
        length: int = fields[layout.length_field]
        if header[:4] == b"ENDB" or length < 0:
            break
        if length < PAYLOAD_MIN_BYTES:
            payload = file.read(length)
            run += payload
            if _ends_run(len(run), payload):
                yield bytes(run)
                run.clear()
        else:
            yield bytes(run)
            run.clear()
            yield from _split_payload(file, length)
    # Whatever follows the last block, or what the blocks turned out not to be.
    for rest in split_fixed(file):
        if len(run) + len(rest) > CHUNK_MAX_BYTES:
            yield bytes(run)
            run.clear()
        run += rest
    if run:
        yield bytes(run)


def split_fixed(file: BinaryIO) -> Iterator[bytes]:
    """Give what is left of a file in pieces of `CHUNK_MAX_BYTES`, the last one shorter."""
    while piece := file.read(CHUNK_MAX_BYTES):
        yield piece


def _split_payload(file: BinaryIO, length: int) -> Iterator[bytes]:
    while length > 0:
        piece = file.read(min(length, CHUNK_MAX_BYTES))
        if not piece:
            return
        length -= len(piece)
        yield piece


def _ends_run(run_length: int, payload: bytes) -> bool:
    if run_length < RUN_MIN_BYTES:
        return False
    # By the payload alone: the header's address differs at every save.
    return run_length >= RUN_MAX_BYTES or zlib.crc32(payload) % RUN_DIVISOR == 0
