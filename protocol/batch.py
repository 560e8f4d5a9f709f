"""Many small blobs in one body: the framing of batch upload and batch download.

A body is a run of records and nothing else. A record is a 40-byte header and a payload::

    sha256   32 bytes   of the raw blob
    raw       4 bytes   big-endian length of the raw blob, 1 to CHUNK_MAX_BYTES
    wire      4 bytes   big-endian length of the payload; the top bit says the payload is zstd

The receiver checks length and hash of every blob itself; a record is compressed only where that
saves bytes. Streams are read record by record, so neither side holds more than one blob.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from .manifest import CHUNK_MAX_BYTES

HEADER = struct.Struct(">32sII")
HEADER_BYTES = HEADER.size
_ZSTD_BIT = 0x8000_0000

BATCH_MAX_BYTES = 16 * 1024 * 1024
"""A sender closes a batch at about this many wire bytes; a receiver accepts up to twice that."""

BATCH_MAX_BLOBS = 4096
"""Most records in a batch, and most hashes in a question for missing or wanted blobs."""


class BatchError(ValueError):
    """A record that cannot be right; the message says why."""


@dataclass(frozen=True, slots=True)
class RecordHeader:
    """What stands before the payload of a record. Lengths in bytes."""

    sha256: str
    raw_length: int
    wire_length: int
    compressed: bool


def pack_header(header: RecordHeader) -> bytes:
    """Return the 40 bytes of a record's header."""
    wire = header.wire_length | (_ZSTD_BIT if header.compressed else 0)
    return HEADER.pack(bytes.fromhex(header.sha256), header.raw_length, wire)


def unpack_header(data: bytes) -> RecordHeader:
    """Return the header in ``data`` (exactly `HEADER_BYTES`). Raises `BatchError`."""
    if len(data) != HEADER_BYTES:
        raise BatchError("The batch ends inside a record.")
    digest, raw, wire = HEADER.unpack(data)
    compressed = bool(wire & _ZSTD_BIT)
    wire &= ~_ZSTD_BIT
    if not 0 < raw <= CHUNK_MAX_BYTES:
        raise BatchError(f"A blob in a batch has 1 to {CHUNK_MAX_BYTES} bytes, not {raw}.")
    # A compressed record is only sent when it is shorter, a plain one has exactly its raw length.
    if (compressed and wire >= raw) or (not compressed and wire != raw):
        raise BatchError("A record's two lengths do not fit together.")
    return RecordHeader(digest.hex(), raw, wire, compressed)
