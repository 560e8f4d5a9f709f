"""The private channel to the node: one JSON line per reply, told apart by a token.

Blender, Cycles, drivers and scripts all print to standard output. So file descriptor 1 is copied
for us alone and then replaced by standard error, where all chatter ends up in the log.
"""

from __future__ import annotations

import io
import json
import os
import sys
import threading
import time
from typing import Any

BEAT_SECONDS = 1.0
"""Between two signs of life."""


class Channel:
    """Sends replies to the node; safe to use from any thread."""

    def __init__(self, token: str) -> None:
        """Take standard output for this channel; every line begins with ``token``."""
        self._token = token.encode("ascii")
        self._lock = threading.Lock()
        self._fd = os.dup(1)
        os.dup2(2, 1)
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")

    def send(self, kind: str, **fields: Any) -> None:
        """Send one reply. Ends this process when the node is gone."""
        body = json.dumps({"kind": kind, **fields}, ensure_ascii=True, default=str)
        data = self._token + b" " + body.encode("ascii") + b"\n"
        try:
            with self._lock:
                while data:
                    data = data[os.write(self._fd, data) :]
        except OSError:
            # Nobody reads any more: rendering on would only keep the machine busy.
            os._exit(1)

    def beat(self) -> None:
        """Give a sign of life every `BEAT_SECONDS` from a thread of its own, for ever."""
        threading.Thread(target=self._beat, name="rendermill-beat", daemon=True).start()

    def _beat(self) -> None:
        while True:
            self.send("beat")
            time.sleep(BEAT_SECONDS)
