"""A TCP line between a member and its coordinator, which breaks when it is told to."""

from __future__ import annotations

import asyncio
import contextlib


class Line:
    """Forwards connections; an async context manager."""

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.break_down: list[int] = []
        """For the next connections in turn: bytes from the coordinator after which each breaks."""
        self.break_up: list[int] = []
        """The same for bytes to the coordinator."""
        self.connections = 0

    async def __aenter__(self) -> Line:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def cut(self) -> None:
        """Break every connection there is."""
        for writer in self._writers:
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        up = self.break_up.pop(0) if self.break_up else None
        down = self.break_down.pop(0) if self.break_down else None
        there_reader, there_writer = await asyncio.open_connection(*self._to)
        self._writers |= {writer, there_writer}
        pair = (writer, there_writer)
        try:
            await asyncio.gather(
                self._forward(reader, there_writer, up, pair),
                self._forward(there_reader, writer, down, pair),
            )
        finally:
            for end in pair:
                self._writers.discard(end)
                end.close()
            self._tasks.discard(task)

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        limit: int | None,
        pair: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
    ) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(16 * 1024):
                if limit is not None and (limit := limit - len(piece)) <= 0:
                    break
                writer.write(piece)
                await writer.drain()
        for end in pair:
            end.transport.abort()
