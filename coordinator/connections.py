"""The nodes that are connected right now, and what waits to be sent to each.

What waits for a node is bounded: one that does not take its messages is cut off, and gets what
matters again when it returns, since the farm goes by leases and not by connections.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable

from ..protocol.messages import CoordinatorMessage, Welcome

_log = logging.getLogger(__name__)

UNSENT_MAX_MESSAGES = 1000
"""Messages waiting for one node; assignments are a few a frame, so this is minutes of silence."""


class NodeConnection:
    """One connection of one process of a node. Its socket is owned by `api.node_link`."""

    def __init__(self, node: str, incarnation: str, close: Callable[[str], None]) -> None:
        self.node = node
        self.incarnation = incarnation
        self.unsent: asyncio.Queue[CoordinatorMessage] = asyncio.Queue(UNSENT_MAX_MESSAGES)
        self.close = close
        """Ends the connection, giving the reason; returns at once."""
        self.inspects = False
        """Whether the node looks at scenes (`messages.Inspect`)."""
        self.jobs_told: set[str] = set()
        """Jobs whose spec went over this connection."""


class NodeConnections:
    """Connections by node and incarnation; at most one of each."""

    def __init__(self) -> None:
        self._connections: dict[tuple[str, str], NodeConnection] = {}
        self._greetings: Counter[tuple[str, str]] = Counter()
        """Connections taken up whose `Hello` the farm has not answered yet."""

    def add(self, connection: NodeConnection) -> None:
        """Take up a connection; a former one of the same process is closed: it came back.

        Its `Hello` goes to the farm next. Until that is answered by `Welcome` nothing is sent:
        whatever comes before was decided for the connection that was.
        """
        key = connection.node, connection.incarnation
        former = self._connections.get(key)
        self._connections[key] = connection
        self._greetings[key] += 1
        if former is not None:
            former.close("the node connected again")

    def remove(self, connection: NodeConnection) -> bool:
        """Drop a connection; False when another one of the same process has taken its place."""
        key = connection.node, connection.incarnation
        if self._connections.get(key) is not connection:
            return False
        del self._connections[key]
        return True

    def send(self, node: str, incarnation: str, message: CoordinatorMessage) -> None:
        """Queue a message; dropped when this process of the node is not connected, or not yet
        welcome."""
        key = node, incarnation
        if isinstance(message, Welcome):
            self._greetings[key] -= 1
            if self._greetings[key] <= 0:
                del self._greetings[key]
        connection = self._connections.get(key)
        if connection is None or key in self._greetings:
            return
        try:
            connection.unsent.put_nowait(message)
        except asyncio.QueueFull:
            _log.warning("node does not take its messages, cut off: node=%s", node)
            connection.close("too many messages wait for the node")

    def disconnect(self, node: str, incarnation: str, reason: str) -> None:
        """Close the connection of this process of the node, if there is one."""
        connection = self._connections.get((node, incarnation))
        if connection is not None:
            connection.close(reason)

    def close_all(self, reason: str) -> None:
        """Close every connection."""
        for connection in list(self._connections.values()):
            connection.close(reason)

    def inspectors(self) -> list[NodeConnection]:
        """Return the connections of nodes that look at scenes."""
        return [one for one in self._connections.values() if one.inspects]

    def is_open(self, connection: NodeConnection) -> bool:
        """Whether this very connection still stands."""
        return self._connections.get((connection.node, connection.incarnation)) is connection
