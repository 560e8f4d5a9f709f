"""Cut a .blend where its own structure is, so that a second save shares most of its chunks.

Every save writes the memory address of each block into the block's header, and structs hold the
addresses of others; in a new Blender they all differ. What does not differ is the raw data behind
them: vertices, packed images, curves, volumes. So a payload of `PAYLOAD_MIN_BYTES` and more becomes
chunks of its own, without the header before it, and all that is small (headers, structs) is
gathered into runs between. Runs end at a block chosen by its content, so that within one session,
where addresses hold still, moving one object re-sends one run.

Layouts (``BLO_core_bhead.hh``, ``BLO_core_blend_header.hh``), all lengths in bytes:

- before 5.0: ``BLENDER``, ``-`` (8-byte pointers) or ``_`` (4), ``v`` little or ``V`` big endian,
  3 digits of version; block header: code 4, length i32, old address, SDNA index i32, count i32.
- since 5.0: ``BLENDER``, 2 digits: length of this header, ``-``, 2 digits of format, ``v``,
  4 digits of version; block header: code 4, SDNA index i32, old address u64, length i64, count i64.

What does not fit is cut at fixed lengths from there on; nothing is ever refused here, and the
chunks joined are the file, always. Compressed files (zstd, gzip) have no visible blocks: a
generic cut serves them (`chunking`).
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from ...protocol.manifest import CHUNK_MAX_BYTES

PAYLOAD_MIN_BYTES = 4 * 1024
"""Smaller payloads are not worth a chunk: its name, header and file cost 100 bytes and an fsync."""
RUN_MIN_BYTES = 16 * 1024
RUN_MAX_BYTES = 256 * 1024
RUN_DIVISOR = 32
"""Past `RUN_MIN_BYTES` one block in so many ends the run; blocks there have some 400 bytes."""

_OLD = re.compile(rb"BLENDER([-_])([vV])\d{3}")
_NEW = re.compile(rb"BLENDER(\d\d)-01v\d{4}")
_OLD_HEADER_BYTES = 12
_HEADER_MAX_BYTES = 99


@dataclass(frozen=True, slots=True)
class _Layout:
    """How blocks are headed: the struct, and which of its fields is the payload's length."""

    header: struct.Struct
    length_field: int


def is_blend(head: bytes) -> bool:
    """Whether a file that begins with ``head`` (16 bytes or more) is an uncompressed .blend."""
    return _OLD.match(head) is not None or _NEW.match(head) is not None


def split_blend(file: BinaryIO) -> Iterator[bytes]:
    """Give the chunks of a .blend, read from its start, in order; each 1 to `CHUNK_MAX_BYTES`.

    Holds at most a chunk and a run in memory. Raises OSError.
    """
    head, layout = _read_file_header(file)
    run = bytearray(head)
    while layout is not None:
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
            # Also long enough for a file of nothing but big payloads: runs of one header each.
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


def _read_file_header(file: BinaryIO) -> tuple[bytes, _Layout | None]:
    head = file.read(_OLD_HEADER_BYTES)
    old = _OLD.fullmatch(head)
    if old is not None:
        order = "<" if old[2] == b"v" else ">"
        address = "Q" if old[1] == b"-" else "I"
        return head, _Layout(struct.Struct(f"{order}4si{address}ii"), length_field=1)
    new = re.match(rb"BLENDER(\d\d)-", head)
    if new is None:
        return head, None
    head += file.read(max(0, min(int(new[1]), _HEADER_MAX_BYTES) - len(head)))
    if _NEW.match(head) is None:
        return head, None
    return head, _Layout(struct.Struct("<4siQqq"), length_field=3)
