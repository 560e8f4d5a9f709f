"""What a node that connects again hears: its own welcome first, nothing meant for before."""

from __future__ import annotations

from rendermill.coordinator.connections import NodeConnection, NodeConnections
from rendermill.protocol.messages import Assign, ForgetJob, Welcome

WELCOME = Welcome(farm="f", heartbeat_seconds=5.0, lease_seconds=45.0)
ASSIGN = Assign(job="j", frames=(), manifest="m")


def connect(connections: NodeConnections, closed: list[str]) -> NodeConnection:
    connection = NodeConnection("n", "i", closed.append)
    connections.add(connection)
    return connection


def heard(connection: NodeConnection) -> list[object]:
    return [connection.unsent.get_nowait() for _ in range(connection.unsent.qsize())]


async def test_nothing_comes_before_the_welcome():
    connections, closed = NodeConnections(), []
    first = connect(connections, closed)
    for message in (ASSIGN, WELCOME, ASSIGN):
        connections.send("n", "i", message)
    assert heard(first) == [WELCOME, ASSIGN]
    again = connect(connections, closed)
    assert len(closed) == 1
    # Decided before the farm knew: the order to render would come without its spec, and be no
    # answer to the greeting.
    connections.send("n", "i", ASSIGN)
    connections.send("n", "i", WELCOME)
    connections.send("n", "i", ForgetJob(job="j"))
    assert heard(again) == [WELCOME, ForgetJob(job="j")]
    assert heard(first) == []


async def test_each_greeting_has_its_own_answer():
    connections, closed = NodeConnections(), []
    connect(connections, closed)
    second = connect(connections, closed)
    stale = Welcome(farm="f", heartbeat_seconds=1.0, lease_seconds=1.0)
    for message in (stale, ASSIGN, WELCOME, ASSIGN):
        connections.send("n", "i", message)
    assert heard(second) == [WELCOME, ASSIGN]
    connections.remove(second)
    connections.send("n", "i", ASSIGN)
    third = connect(connections, closed)
    connections.remove(third)
    connections.send("n", "i", WELCOME)
    fourth = connect(connections, closed)
    connections.send("n", "i", WELCOME)
    assert heard(fourth) == [WELCOME]
