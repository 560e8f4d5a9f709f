"""One blob on its way in: written to a temp file, counted, hashed, then handed to the store."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from . import StoreError

if TYPE_CHECKING:
    from .blobs import BlobStore

ROOM_CHECK_BYTES = 16 * 1024 * 1024
"""What comes without its length being known before is held against the free space this often."""

_DECODED_INPUT_BYTES = 4096
"""Compressed bytes decoded at once: zstd makes up to 32,750 times as many of them (128 MiB)."""


class WrongHash(StoreError):
    """Bytes that do not hash to the name they came with."""


class Decoder(Protocol):
    """Takes compressed pieces and gives back raw ones."""

    def decompress(self, data: bytes, /) -> bytes:
        """Return what ``data`` adds."""
        ...


class Incoming:
    """One blob on its way in: `write` its bytes, then `finish`; and `abort` in any case."""

    def __init__(
        self, store: BlobStore, name: str, length: int, most: int, file: BinaryIO, path: Path
    ) -> None:
        self._store = store
        self._name = name
        self._expected = length
        self._most = most
        self._file = file
        self._path = path
        self._hash = hashlib.sha256()
        self._written = 0
        self._checked = 0

    def write(self, data: bytes, decoder: Decoder | None = None) -> None:
        """Add bytes, through ``decoder`` where they are compressed.

        Raises `WrongHash`, `DiskFull`, `StoreFailed`.
        """
        for start in range(0, len(data), _DECODED_INPUT_BYTES) if decoder else (0,):
            if decoder:
                piece = decoder.decompress(data[start : start + _DECODED_INPUT_BYTES])
            else:
                piece = data
            self._take(piece)

    def _take(self, data: bytes) -> None:
        self._written += len(data)
        if self._written > self._most:
            raise WrongHash(f"More than {self._most} bytes came for blob {self._name}.")
        if self._written - self._checked > ROOM_CHECK_BYTES:
            self._store.require_room(0)
            self._checked = self._written
        self._hash.update(data)
        self._store.append(self._file, data)
        self._expect_less(len(data))

    def _expect_less(self, length: int) -> None:
        length = min(length, self._expected)
        self._expected -= length
        self._store.expect(-length)

    def finish(self) -> None:
        """Check the hash, then make the blob durable under its name.

        Raises `WrongHash`, `DiskFull`, `StoreFailed`; then nothing stays behind after `abort`.
        """
        if self._hash.hexdigest() != self._name:
            raise WrongHash(
                f"The {self._written} bytes sent as blob {self._name} do not hash to that name; "
                "send it again."
            )
        self._store.publish(self._name, self._file, self._path)

    def abort(self) -> None:
        """Drop what is left. May be called at any time, also twice, also after `finish`."""
        self._expect_less(self._expected)
        self._file.close()
        self._path.unlink(missing_ok=True)
