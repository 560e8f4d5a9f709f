"""A TCP proxy that treats a connection badly: slow, cut short, half open, or with damaged bytes.

It runs in a thread of its own, between a member and its coordinator, and does to both directions
what its `Weather` says at that moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import dataclass
from types import TracebackType

START_SECONDS = 60.0
PIECE_BYTES = 16 * 1024
LOOK_SECONDS = 0.02


@dataclass
class Weather:
    """What happens to bytes; may be changed at any time."""

    delay_seconds: float = 0.0
    """Every piece waits so long."""
    silent: bool = False
    """Half open: both sides stay connected and nothing arrives any more, as behind a pulled cable.
    Bytes wait; those of a connection that is given up meanwhile never arrive."""
    refusing: bool = False
    """New connections are closed at once."""
    cut_after_bytes: int = -1
    """Each connection is broken once so many bytes went up; -1: never."""
    damage_after_bytes: int = -1
    """One bit of every piece that goes up behind so many bytes is turned; -1: none."""


class Proxy:
    """Listens on loopback and passes on to ``port``; use as a context manager."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.weather = Weather()
        self.port = 0
        self.connections = 0
        """How many were made so far."""

    @property
    def url(self) -> str:
        """Address for the member."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Proxy:
        """Begin to listen."""
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()
        if not self._ready.wait(START_SECONDS):
            raise RuntimeError("the proxy did not start")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Break every connection and stop."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(START_SECONDS)

    def break_all(self) -> None:
        """Break every connection that there is, without a word."""
        self._loop.call_soon_threadsafe(self._break)

    # --- in the thread -------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        self._break()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await server.wait_closed()

    def _break(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # Also where the task is cancelled before it has begun.
        task.add_done_callback(lambda _: writer.transport.abort())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        try:
            if self.weather.refusing:
                return
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target)
            writers.append(up_writer)
            ways = [
                asyncio.create_task(self._pass(reader, up_writer, is_up=True)),
                asyncio.create_task(self._pass(up_reader, writer, is_up=False)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except OSError:
            pass  # The other side is gone; so is this connection.
        finally:
            for each in writers:
                each.transport.abort()
            for each in writers:
                with contextlib.suppress(OSError, asyncio.CancelledError):
                    await each.wait_closed()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_up: bool
    ) -> None:
        count = 0
        with contextlib.suppress(OSError):
            while data := await reader.read(PIECE_BYTES):
                weather = self.weather
                if weather.delay_seconds:
                    await asyncio.sleep(weather.delay_seconds)
                while self.weather.silent:  # noqa: ASYNC110 - set from another thread
                    await asyncio.sleep(LOOK_SECONDS)
                if is_up:
                    if 0 <= weather.cut_after_bytes < count + len(data):
                        writer.write(data[: max(0, weather.cut_after_bytes - count)])
                        await writer.drain()
                        return
                    if 0 <= weather.damage_after_bytes < count + len(data):
                        at = max(0, weather.damage_after_bytes - count)
                        data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
                count += len(data)
                writer.write(data)
                await writer.drain()
