"""Server-sent events, from bytes to `views.Event` (the format: WHATWG HTML, section 9.2)."""

from __future__ import annotations

import json

from ..protocol.codec import CodecError, from_plain
from ..protocol.views import Event
from .errors import Damaged

EVENT_MAX_BYTES = 4 * 1024 * 1024


class EventParser:
    """Takes the pieces of one event stream in any cut and gives back its events."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._length = 0
        self._id: int | None = None
        self.last_id: int | None = None
        """Number to go on from when the line breaks; also told where there was no event for us."""

    def feed(self, piece: bytes) -> list[Event]:
        """Return the events that end in ``piece``. Raises `Damaged` for one that cannot be read."""
        events: list[Event] = []
        self._rest += piece
        *lines, self._rest = self._rest.split(b"\n")
        for line in lines:
            text = line.removesuffix(b"\r")
            if not text:
                event = self._end()
                if event is not None:
                    events.append(event)
            elif text.startswith(b"data:"):
                self._data.append(text[5:].removeprefix(b" "))
                self._length += len(text)
            elif text.startswith(b"id:") and text[3:].strip().isdigit():
                self._id = int(text[3:])
            # `event:` repeats what the data says; comments only keep the line alive.
        if len(self._rest) + self._length > EVENT_MAX_BYTES:
            raise Damaged(f"An event of the coordinator is longer than {EVENT_MAX_BYTES} bytes.")
        return events

    def _end(self) -> Event | None:
        data, self._data, self._length = b"\n".join(self._data), [], 0
        self.last_id, self._id = self.last_id if self._id is None else self._id, None
        if not data:
            return None
        try:
            return from_plain(json.loads(data), Event)
        except (CodecError, ValueError, RecursionError) as error:
            raise Damaged(f"The coordinator sent an event that cannot be read: {error}") from error
