"""Messages and bodies to bytes and back: typed, bounded, in one place.

msgpack is wrapped here and nowhere else. Its options: `use_bin_type` and `raw=False` so that text
is text and bytes are bytes; `strict_map_key` against hash-flooding keys; no ext types, so nothing
but plain data can be named; every length bounded by the size of the message.

msgspec turns plain data into the dataclasses of this package and checks every type on the way;
unknown fields are refused, because a field that is silently dropped is a setting silently ignored.
"""

from __future__ import annotations

import math
import typing
from typing import Any, TypeVar

import msgpack
import msgspec

from . import messages
from .manifest import (
    CHUNK_MAX_BYTES,
    MANIFEST_MAX_BYTES,
    Chunk,
    Manifest,
    ManifestError,
    ManifestFile,
    check_path,
)

T = TypeVar("T")

_SHA256_HEX_CHARS = 64
_MANIFEST_FORMAT = 1
_NUMBER_MIN, _NUMBER_MAX = -(2**63), 2**63 - 1
"""What msgpack, JSON readers and SQLite can all hold."""
_WITHOUT_NUMBERS = frozenset({str, bytes, bool, type(None)})


class CodecError(ValueError):
    """Bytes that are not what they should be; the message says what is wrong."""


def _tags(union: Any) -> dict[str, type]:
    return {cls.__name__: cls for cls in typing.get_args(union)}


_NODE_MESSAGES = _tags(messages.NodeMessage)
_COORDINATOR_MESSAGES = _tags(messages.CoordinatorMessage)


def encode_message(message: messages.NodeMessage | messages.CoordinatorMessage) -> bytes:
    """Return a message as msgpack: a two-element array of its type's name and its fields.

    Raises `CodecError` if it is longer than `MESSAGE_MAX_BYTES`.
    """
    # The same bytes as msgpack's own, without plain data in between: this is on the way of every
    # message to every node.
    data = msgspec.msgpack.encode([type(message).__name__, message])
    if len(data) > messages.MESSAGE_MAX_BYTES:
        raise CodecError(
            f"A {type(message).__name__} message of {len(data)} bytes is over the limit of "
            f"{messages.MESSAGE_MAX_BYTES}."
        )
    return data


def decode_node_message(data: bytes) -> messages.NodeMessage:
    """Return the message a node sent. Raises `CodecError` for anything else."""
    return _decode_message(data, _NODE_MESSAGES)


def decode_coordinator_message(data: bytes) -> messages.CoordinatorMessage:
    """Return the message the coordinator sent. Raises `CodecError` for anything else."""
    return _decode_message(data, _COORDINATOR_MESSAGES)


def _decode_message(data: bytes, tags: dict[str, type]) -> Any:
    if len(data) > messages.MESSAGE_MAX_BYTES:
        raise CodecError(f"A message of {len(data)} bytes is over the limit.")
    plain = _unpack(data)
    if not (isinstance(plain, list) and len(plain) == 2 and isinstance(plain[0], str)):
        raise CodecError("A message is an array of its type and its fields.")
    cls = tags.get(plain[0])
    if cls is None:
        raise CodecError(f"There is no message of type {plain[0][:40]!r} in this direction.")
    if not _are_numbers_sound(plain[1]):
        _refuse_numbers(plain[1], cls.__name__)
    return from_plain(plain[1], cls)


def _are_numbers_sound(plain: Any) -> bool:
    """Whether `_refuse_numbers` would find nothing: quick, since it need not say where."""
    kind = type(plain)
    if kind is dict:
        plain = plain.values()
    elif kind is not list:
        if kind is float:
            return math.isfinite(plain)
        return kind is not int or _NUMBER_MIN <= plain <= _NUMBER_MAX
    for value in plain:
        if type(value) not in _WITHOUT_NUMBERS and not _are_numbers_sound(value):
            return False
    return True


def _refuse_numbers(plain: Any, where: str) -> None:
    """Refuse numbers that could be taken in and never be sent on or stored.

    NaN and infinity have no JSON (they would come back as null), and a longer integer no msgpack.
    """
    if isinstance(plain, dict):
        for key, value in plain.items():
            _refuse_numbers(value, f"{where}.{key}")
    elif isinstance(plain, list):
        for value in plain:
            _refuse_numbers(value, where)
    elif isinstance(plain, float):
        if not math.isfinite(plain):
            raise CodecError(f"{where} is {plain}, which is no number.")
    elif isinstance(plain, int) and not _NUMBER_MIN <= plain <= _NUMBER_MAX:
        raise CodecError(f"{where} is a number of more than 64 bits.")


def _unpack(data: bytes) -> Any:
    limit = len(data)
    try:
        return msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=True,
            use_list=True,
            max_str_len=limit,
            max_bin_len=limit,
            max_array_len=limit,
            max_map_len=limit,
            max_ext_len=0,
        )
    # msgpack raises ValueError and its subclasses for malformed data, UnicodeDecodeError for text,
    # RecursionError-like StackError for depth; all of them mean the same to a caller.
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise CodecError(f"The bytes are not valid msgpack: {error}") from error


def from_plain(plain: Any, cls: type[T]) -> T:
    """Build a dataclass of this package from plain data (dicts, lists, text, numbers).

    Raises `CodecError` naming the field that is missing or of another type.
    """
    try:
        return msgspec.convert(plain, cls, strict=True)
    except msgspec.ValidationError as error:
        raise CodecError(f"{cls.__name__}: {error}.") from error


def to_plain(value: Any) -> Any:
    """Return a dataclass of this package as plain data: the inverse of `from_plain`."""
    return msgspec.to_builtins(value)


def encode_json(value: Any) -> bytes:
    """Return a dataclass, or a collection of them, as UTF-8 JSON."""
    return msgspec.json.encode(value)


def decode_json(data: bytes, cls: type[T]) -> T:
    """Build a dataclass of this package from JSON. Raises `CodecError`.

    A field the type does not have is refused: people write these bodies by hand, and a setting
    that is dropped in silence is a setting ignored.
    """
    try:
        plain = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise CodecError(f"The body is not valid JSON: {error}.") from error
    _refuse_numbers(plain, cls.__name__)
    value = from_plain(plain, cls)
    # The value turned back has every field of every type, so whatever is missing there was unknown.
    _refuse_unknown(plain, to_plain(value), cls.__name__)
    return value


def _refuse_unknown(plain: Any, known: Any, where: str) -> None:
    if isinstance(plain, dict) and isinstance(known, dict):
        for key, value in plain.items():
            if key not in known:
                raise CodecError(f"{where} has no field {key!r}.")
            _refuse_unknown(value, known[key], f"{where}.{key}")
    elif isinstance(plain, list) and isinstance(known, list | tuple):
        for index, (left, right) in enumerate(zip(plain, known, strict=False)):
            _refuse_unknown(left, right, f"{where}[{index}]")


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the canonical bytes of a manifest: equal manifests have equal bytes, hence one hash.

    Layout: msgpack ``[1, [[path, [sha256 (32 bytes), length, sha256, length, ...]], ...]]`` with
    files sorted by path. Raises `ManifestError` for a path twice, an unsafe path or a bad chunk.
    """
    files = sorted(manifest.files, key=lambda file: file.path)
    _check_files(files)
    rows: list[Any] = []
    for file in files:
        flat: list[Any] = []
        for chunk in file.chunks:
            flat += (bytes.fromhex(chunk.sha256), chunk.length)
        rows.append([file.path, flat])
    data = msgpack.packb([_MANIFEST_FORMAT, rows], use_bin_type=True)
    assert data is not None
    if len(data) > MANIFEST_MAX_BYTES:
        raise ManifestError(f"The scene has too many chunks: its manifest takes {len(data)} bytes.")
    return data


def decode_manifest(data: bytes) -> Manifest:
    """Return the manifest in ``data``. Raises `CodecError` or `ManifestError`."""
    if len(data) > MANIFEST_MAX_BYTES:
        raise CodecError(f"A manifest of {len(data)} bytes is over the limit.")
    plain = _unpack(data)
    if not (isinstance(plain, list) and len(plain) == 2 and plain[0] == _MANIFEST_FORMAT):
        raise CodecError(f"The bytes are no manifest of format {_MANIFEST_FORMAT}.")
    rows = from_plain(plain[1], list[tuple[str, list[bytes | int]]])
    files: list[ManifestFile] = []
    for path, flat in rows:
        if len(flat) % 2:
            raise CodecError(f"The chunks of {path!r} are not pairs of hash and length.")
        chunks: list[Chunk] = []
        for digest, length in zip(flat[::2], flat[1::2], strict=True):
            if not isinstance(digest, bytes) or not isinstance(length, int):
                raise CodecError(f"The chunks of {path!r} are not pairs of hash and length.")
            chunks.append(Chunk(digest.hex(), length))
        files.append(ManifestFile(path, tuple(chunks)))
    if [file.path for file in files] != sorted(file.path for file in files):
        raise ManifestError("The files of the manifest are not sorted by path.")
    _check_files(files)
    return Manifest(tuple(files))


def _check_files(files: list[ManifestFile]) -> None:
    seen: set[str] = set()
    folders: set[str] = set()
    for file in files:
        # One spelling per file even where case does not count (Windows, macOS).
        folded = check_path(file.path).casefold()
        if folded in seen:
            raise ManifestError(f"The path {file.path!r} is in the manifest twice (case aside).")
        seen.add(folded)
        parts = folded.split("/")
        folders.update("/".join(parts[:depth]) for depth in range(1, len(parts)))
        for chunk in file.chunks:
            if not is_sha256(chunk.sha256) or not 0 < chunk.length <= CHUNK_MAX_BYTES:
                raise ManifestError(f"A chunk of {file.path!r} has a bad hash or length.")
    both = seen & folders
    if both:
        raise ManifestError(f"{min(both)!r} is both a file and a folder in the manifest.")


def is_sha256(text: str) -> bool:
    """Whether ``text`` is a SHA-256 in the one spelling we use: 64 lower-case hex digits."""
    return len(text) == _SHA256_HEX_CHARS and not text.strip("0123456789abcdef")
