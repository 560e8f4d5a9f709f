"""Who is let in: listed, shut out at once, and what was done stays written down."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import aiohttp
import pytest
from rendermill.coordinator.api import node_link
from rendermill.coordinator.identity.roles import Role
from rendermill.coordinator.identity.tokens import NODES_MAX
from rendermill.coordinator.store import schema
from rendermill.protocol.codec import encode_message
from rendermill.protocol.views import AuditPage, NodePage, TokenPage
from rendermill.wire.connection import FarmConnection
from rendermill.wire.errors import FarmError, NotAllowed, Refused
from sqlalchemy import delete, update
from sqlalchemy.exc import DatabaseError

WAIT_SECONDS = 60


@pytest.fixture
def node_token(coordinator):
    """Give out a node token; returns (id, credentials)."""

    async def issue(name: str = "box"):
        token = await coordinator.tokens.issue(name, Role.NODE)
        member = coordinator.tokens.check(token)
        return member.id, replace(coordinator.credentials, token=token)

    return issue


async def closing(farm, hello) -> tuple[int, str]:
    """Say hello and return how the coordinator ended the connection."""
    async with farm.websocket("/api/v1/node") as socket:
        await socket.send_bytes(encode_message(hello))
        while True:
            frame = await socket.receive(timeout=WAIT_SECONDS)
            if frame.type is aiohttp.WSMsgType.CLOSE:
                return frame.data, frame.extra


async def test_a_revoked_node_is_cut_off_at_once_and_stays_out(farm, node_token, make_node):
    token, credentials = await node_token()
    async with FarmConnection(credentials) as own:
        node = make_node(own)
        async with node.connected():
            listed = {one.id: one for one in (await farm.get("/api/v1/tokens", TokenPage)).tokens}
            assert listed[token].nodes == (node.node,)
            assert (listed[token].name, listed[token].role) == ("box", "node")
            await farm.delete(f"/api/v1/tokens/{token}")
            frame = await node.socket.receive(timeout=WAIT_SECONDS)
            assert (frame.type, frame.data) == (aiohttp.WSMsgType.CLOSE, node_link.CLOSE_REVOKED)
            assert "revoked" in frame.extra
        with pytest.raises(NotAllowed):
            async with own.websocket("/api/v1/node"):
                pass
    assert token not in {one.id for one in (await farm.get("/api/v1/tokens", TokenPage)).tokens}
    with pytest.raises(FarmError, match="no token"):
        await farm.delete(f"/api/v1/tokens/{token}")


async def test_a_revoked_follower_hears_nothing_more(coordinator, farm, raw):
    token = await coordinator.tokens.issue("browser", Role.VIEW)
    member = coordinator.tokens.check(token)
    headers = {"Authorization": f"Bearer {token}"}
    async with raw.get(f"{coordinator.url}/api/v1/events", headers=headers) as answer:
        assert (await answer.content.readline()).startswith(b": following")
        await farm.delete(f"/api/v1/tokens/{member.id}")
        async with asyncio.timeout(WAIT_SECONDS):
            rest = await answer.content.read()
        assert b"data:" not in rest
    async with raw.get(f"{coordinator.url}/api/v1/events", headers=headers) as answer:
        assert answer.status == 401


async def test_a_token_speaks_for_its_own_node_only(farm, node_token, make_node, start):
    _, first = await node_token("first")
    _, second = await node_token("second")
    async with FarmConnection(first) as one, FarmConnection(second) as other:
        async with make_node(one, 1).connected():
            pass
        async with make_node(other, 2).connected():
            pass
        code, reason = await closing(other, make_node(other, 1).hello())
        assert code == node_link.CLOSE_BAD_MESSAGE
        assert "belongs to another node" in reason
        # A second slot of the same machine, which nobody has.
        async with make_node(other, 3).connected():
            pass
        nodes = await farm.get("/api/v1/nodes", NodePage)
        assert {node.id for node in nodes.nodes} == {f"{number:032x}" for number in (1, 2, 3)}


async def test_a_machine_that_joins_again_keeps_its_node(farm, node_token, make_node):
    former_id, former = await node_token()
    async with FarmConnection(former) as one, make_node(one, 1).connected():
        pass
    new_id, new = await node_token()
    async with FarmConnection(new) as again, make_node(again, 1, "two").connected():
        pass
    listed = {one.id: one.nodes for one in (await farm.get("/api/v1/tokens", TokenPage)).tokens}
    assert listed[new_id] == (f"{1:032x}",)
    assert listed[former_id] == ()


async def test_the_binding_survives_a_restart(start, make_node):
    coordinator = await start()
    tokens = [await coordinator.tokens.issue(name, Role.NODE) for name in ("a", "b")]
    for number, token in enumerate(tokens):
        async with (
            FarmConnection(replace(coordinator.credentials, token=token)) as own,
            make_node(own, number).connected(),
        ):
            pass
    await coordinator.stop()
    coordinator = await start()
    async with FarmConnection(replace(coordinator.credentials, token=tokens[1])) as own:
        code, _ = await closing(own, make_node(own, 0).hello())
        assert code == node_link.CLOSE_BAD_MESSAGE


async def test_one_token_is_no_crowd(node_token, make_node):
    _, credentials = await node_token()
    async with FarmConnection(credentials) as own:
        for number in range(NODES_MAX):
            async with make_node(own, number).connected():
                pass
        code, reason = await closing(own, make_node(own, NODES_MAX).hello())
        assert code == node_link.CLOSE_BAD_MESSAGE
        assert str(NODES_MAX) in reason


async def test_only_admins_see_and_revoke(farm, as_role):
    (own,) = (await farm.get("/api/v1/tokens", TokenPage)).tokens
    assert own.is_own
    for role in ("view", "submit", "node"):
        async with as_role(role) as other:
            for path in ("/api/v1/tokens", "/api/v1/audit"):
                with pytest.raises(NotAllowed):
                    await other.get(path, None)
            with pytest.raises(NotAllowed):
                await other.delete(f"/api/v1/tokens/{own.id}")
    with pytest.raises(Refused, match="own machine"):
        await farm.delete(f"/api/v1/tokens/{own.id}")


async def test_the_audit_log_tells_and_cannot_be_changed(coordinator, farm, raw, node_token):
    token, _ = await node_token()
    await farm.delete(f"/api/v1/tokens/{token}")
    body = {"secret": "0" * 32, "name": "stranger", "kind": "node"}
    async with raw.post(f"{coordinator.url}/api/v1/join", json=body) as answer:
        assert answer.status == 403
    page = await farm.get("/api/v1/audit", AuditPage, params={"limit": 2})
    refused, done = page.entries
    assert (refused.action, refused.outcome, refused.member) == ("join", "refused", "stranger")
    assert refused.address == "127.0.0.1"
    assert (done.action, done.outcome, done.subject) == ("revoke", "done", token)
    assert done.member.startswith("this machine (admin ")
    assert page.next is None
    older = await farm.get("/api/v1/audit", AuditPage, params={"limit": 1})
    assert older.next == refused.number
    older = await farm.get("/api/v1/audit", AuditPage, params={"before": older.next})
    assert older.entries == (done,)
    writer = coordinator.store.writer
    for statement in (delete(schema.audit), update(schema.audit).values(outcome="refused")):
        with pytest.raises(DatabaseError, match="only ever added"):
            await writer.run(lambda connection, statement=statement: connection.execute(statement))
    assert (await farm.get("/api/v1/audit", AuditPage)).entries == page.entries
