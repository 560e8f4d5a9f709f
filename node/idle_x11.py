"""How long nobody has touched an X11 display, asked of the X server itself.

The few requests this takes are spoken here (X11 protocol, encoding appendix; MIT-SCREEN-SAVER 1.1,
QueryInfo): libX11 ends the whole process when a display goes away.
"""

from __future__ import annotations

import os
import re
import socket
import struct
from pathlib import Path

ANSWER_SECONDS = 5.0
SOCKETS = Path("/tmp/.X11-unix")  # noqa: S108 - where X servers listen

_COOKIE = b"MIT-MAGIC-COOKIE-1"
_EXTENSION = b"MIT-SCREEN-SAVER"
_QUERY_EXTENSION, _QUERY_INFO = 98, 1
_REPLY_BYTES = 32
_FAMILY_LOCAL, _FAMILY_WILD = 256, 0xFFFF
_LOCAL_DISPLAY = re.compile(r"(?:unix)?:(\d+)(?:\.\d+)?")


class DisplayUnknown(Exception):
    """Why a display cannot be asked; a sentence."""


def local_display(name: str) -> int | None:
    """Return the number of a display on this machine (":0"); None for others ("host:10")."""
    match = _LOCAL_DISPLAY.fullmatch(name.strip())
    return int(match[1]) if match else None


def listening_displays() -> list[int]:
    """Return the numbers of all displays with a socket on this machine."""
    try:
        names = [path.name for path in SOCKETS.iterdir()]
    except OSError:
        return []
    return sorted(int(name[1:]) for name in names if re.fullmatch(r"X\d+", name))


def idle_seconds(display: int) -> float:
    """Return the seconds since the last input on a display. Raises `DisplayUnknown`."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(ANSWER_SECONDS)
            line.connect(str(SOCKETS / f"X{display}"))
            return _ask(line, display)
    except (OSError, struct.error) as error:
        raise DisplayUnknown(f"The display :{display} does not answer ({error}).") from error


def _ask(line: socket.socket, display: int) -> float:
    root = _greet(line, display)
    name = _EXTENSION
    line.sendall(struct.pack("<BxHHxx", _QUERY_EXTENSION, 2 + len(name) // 4, len(name)) + name)
    reply = _reply(line, display)
    if not reply[8]:
        raise DisplayUnknown(
            f"The display :{display} has no screen saver extension, which knows of its user."
        )
    line.sendall(struct.pack("<BBHI", reply[9], _QUERY_INFO, 2, root))
    milliseconds = struct.unpack_from("<I", _reply(line, display), 16)[0]
    return milliseconds / 1000


def _greet(line: socket.socket, display: int) -> int:
    """Open the connection; return the first screen's root window."""
    cookie = _cookie(display)
    name = _COOKIE if cookie else b""
    head = struct.pack("<BxHHHHxx", ord("l"), 11, 0, len(name), len(cookie))
    line.sendall(head + _padded(name) + _padded(cookie))
    status, reason_length, length = struct.unpack("<BBxxxxH", _take(line, 8))
    body = _take(line, 4 * length)
    if status != 1:
        reason = body[:reason_length].decode("latin-1").strip()
        raise DisplayUnknown(f"The display :{display} does not let this user in ({reason}).")
    vendor, formats = struct.unpack_from("<H", body, 16)[0], body[21]
    return struct.unpack_from("<I", body, 32 + (vendor + 3) // 4 * 4 + 8 * formats)[0]


def _reply(line: socket.socket, display: int) -> bytes:
    reply = _take(line, _REPLY_BYTES)
    if reply[0] != 1:
        raise DisplayUnknown(f"The display :{display} refused to tell (error {reply[1]}).")
    return reply


def _take(line: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        piece = line.recv(length - len(data))
        if not piece:
            raise ConnectionResetError("it ended the connection")
        data += piece
    return bytes(data)


def _cookie(display: int) -> bytes:
    """Return the cookie of a display from the authority file; b'' where there is none."""
    path = Path(os.environ.get("XAUTHORITY") or Path.home() / ".Xauthority")
    try:
        data = path.read_bytes()
    except OSError:
        return b""
    at = 0
    while at + 2 <= len(data):
        family = struct.unpack_from(">H", data, at)[0]
        at += 2
        parts: list[bytes] = []
        for _ in range(4):  # Address, number, name of the protocol, cookie.
            if at + 2 > len(data):
                return b""
            length = struct.unpack_from(">H", data, at)[0]
            parts.append(data[at + 2 : at + 2 + length])
            at += 2 + length
        _, number, name, cookie = parts
        is_here = family in (_FAMILY_LOCAL, _FAMILY_WILD)
        if is_here and number in (b"", str(display).encode()) and name == _COOKIE:
            return cookie
    return b""


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
