"""The node's end of the private channel to a Blender: orders out, replies and log lines in."""

from __future__ import annotations

import json
import secrets
from typing import Any

from ...protocol.messages import LOG_LINE_MAX_CHARS

REPLY_MAX_BYTES = 4 * 1024 * 1024
"""A line longer than this is no reply of ours; it is cut."""


def make_token() -> str:
    """Return a token that marks the lines of one Blender as replies; new for every process."""
    return secrets.token_hex(16)


def pack_order(number: int, do: str, fields: dict[str, Any]) -> bytes:
    """Return one order as a line for Blender's standard input."""
    order = {"id": number, "do": do, **fields}
    return json.dumps(order, ensure_ascii=True).encode("ascii") + b"\n"


def parse_reply(line: str, token: str) -> dict[str, Any] | None:
    """Return the reply in a line of Blender's output; None for chatter.

    What a scene prints may look like anything, but cannot hold the token.
    """
    head, _, body = line.partition(" ")
    if head != token:
        return None
    try:
        reply = json.loads(body)
    except ValueError:
        return None
    return reply if isinstance(reply, dict) and "kind" in reply else None


class LineSplitter:
    """Splits a byte stream into text lines, none longer than ``most_bytes``."""

    def __init__(self, most_bytes: int = LOG_LINE_MAX_CHARS) -> None:
        self._most = most_bytes
        self._rest = b""
        self._cut = False

    def feed(self, data: bytes) -> list[str]:
        """Return the lines that end in ``data``; the tail of a line too long is left out."""
        *whole, rest = (self._rest + data).split(b"\n")
        lines = []
        for line in whole:
            if not self._cut:
                lines.append(self._text(line))
            self._cut = False
        if len(rest) > self._most:
            if not self._cut:
                lines.append(self._text(rest))
            self._cut, rest = True, b""
        self._rest = b"" if self._cut else rest
        return lines

    def end(self) -> list[str]:
        """Return the last line if it had no end."""
        rest, self._rest = self._rest, b""
        return [self._text(rest)] if rest else []

    def _text(self, line: bytes) -> str:
        return line[: self._most].decode("utf-8", "replace").rstrip("\r")
