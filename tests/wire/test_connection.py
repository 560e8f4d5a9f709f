from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from rendermill.coordinator.identity.certificate import load_or_make_certificate
from rendermill.protocol import PROTOCOL_VERSION
from rendermill.protocol.codec import encode_json
from rendermill.protocol.views import FarmView, Health, JobDetail, JobPage, JobView
from rendermill.wire.connection import FarmConnection
from rendermill.wire.credentials import Credentials
from rendermill.wire.errors import (
    Damaged,
    NotAllowed,
    NotFound,
    ProtocolMismatch,
    Refused,
    Unreachable,
)

from ..coordinator.conftest import make_scene


class Served:
    """A web server of the test's own making, where the coordinator cannot be made to misbehave."""

    def __init__(self) -> None:
        self.health = Health(protocol=PROTOCOL_VERSION, software="9.9", farm="F", farm_id="f")
        self.answers: list[web.Response] = []
        self.asked: list[tuple[str, str, str]] = []

    async def answer(self, request: web.Request) -> web.Response:
        if request.path == "/health":
            return web.Response(body=encode_json(self.health))
        token = request.headers.get("Authorization", "")
        self.asked.append((request.method, request.path, token))
        return self.answers.pop(0)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[tuple[Served, Credentials]]:
    """The server, over TLS with a self-signed certificate, on loopback."""
    certificate = load_or_make_certificate(tmp_path)
    handler = Served()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=certificate.server_context())
    await site.start()
    assert runner.addresses
    url = f"https://127.0.0.1:{runner.addresses[0][1]}"
    yield handler, Credentials(url, "secret", certificate.fingerprint, "F", "f")
    await runner.cleanup()


async def test_views_come_back_typed(farm):
    view = await farm.get("/api/v1/farm", FarmView)
    assert view.nodes_online == 0
    assert (await farm.get("/api/v1/jobs", JobPage, params={"state": None})).jobs == ()
    shot = make_scene()
    await shot.upload(farm)
    job = await shot.submit(farm)
    changed = await farm.patch(f"/api/v1/jobs/{job.id}", JobView, body={"priority": 7})
    assert changed.priority == 7
    await farm.post(f"/api/v1/jobs/{job.id}/cancel", JobView)
    await farm.delete(f"/api/v1/jobs/{job.id}")
    with pytest.raises(NotFound):
        await farm.get(f"/api/v1/jobs/{job.id}", JobDetail)


async def test_refusals_carry_the_coordinators_sentence(farm):
    shot = make_scene()
    with pytest.raises(Refused) as caught:
        await shot.submit(farm)
    assert caught.value.problem.status == 409
    assert set(caught.value.problem.missing)
    assert str(caught.value) == caught.value.problem.detail


async def test_a_wrong_token_is_not_allowed(coordinator):
    async with FarmConnection(replace(coordinator.credentials, token="0" * 64)) as farm:
        assert await farm.health()
        with pytest.raises(NotAllowed):
            await farm.get("/api/v1/farm", FarmView)
        with pytest.raises(NotAllowed):
            await anext(farm.events(after=0))
        with pytest.raises(NotAllowed):
            async with farm.websocket("/api/v1/node"):
                pass


async def test_another_farm_at_the_old_address_is_said(coordinator):
    async with FarmConnection(replace(coordinator.credentials, farm_id="other")) as farm:
        with pytest.raises(NotAllowed, match="another farm"):
            await farm.get("/api/v1/farm", FarmView)


async def test_nobody_there():
    listener = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    listener.close()
    await listener.wait_closed()
    nowhere = Credentials(f"http://127.0.0.1:{port}", "t", "", "", "")
    async with FarmConnection(nowhere, patience_seconds=0) as farm:
        with pytest.raises(Unreachable, match=str(port)):
            await farm.health()


async def test_a_pinned_certificate_is_trusted_and_no_other(served):
    handler, credentials = served
    async with FarmConnection(credentials) as farm:
        assert (await farm.health()).software == "9.9"
    wrong = replace(credentials, fingerprint="00" * 32)
    async with FarmConnection(wrong, patience_seconds=30) as farm:
        with pytest.raises(NotAllowed, match="certificate"):
            await farm.get("/api/v1/farm", FarmView)
    unpinned = replace(credentials, fingerprint="")
    async with FarmConnection(unpinned, patience_seconds=30) as farm:
        with pytest.raises(NotAllowed, match="certificate"):
            await farm.get("/api/v1/farm", FarmView)
    assert handler.asked == [], "the token was sent to someone whose certificate is not known"


def test_no_token_without_a_pinned_certificate():
    with pytest.raises(ValueError, match="pinned"):
        FarmConnection(
            Credentials("https://127.0.0.1:1", "secret", "", "", ""), any_certificate=True
        )


@pytest.mark.parametrize("step", [-1, 1])
async def test_another_protocol_is_said_before_anything_is_sent(served, step):
    handler, credentials = served
    handler.health = replace(handler.health, protocol=PROTOCOL_VERSION + step)
    async with FarmConnection(credentials) as farm:
        with pytest.raises(ProtocolMismatch, match="update Rendermill on the"):
            await farm.post("/api/v1/jobs", JobView, body={})
    assert handler.asked == []


async def test_a_busy_coordinator_is_asked_again_where_that_is_harmless(served):
    handler, credentials = served
    busy = [web.Response(status=503) for _ in range(2)]
    handler.answers = [*busy, web.Response(body=b'{"jobs": [], "next": null}')]
    async with FarmConnection(credentials, patience_seconds=60) as farm:
        assert (await farm.get("/api/v1/jobs", JobPage)).jobs == ()
        handler.answers = [web.Response(status=503)]
        with pytest.raises(Refused):
            await farm.post("/api/v1/jobs/x/retry", JobView)
    assert handler.answers == []


async def test_a_redirect_is_not_followed(served):
    handler, credentials = served
    handler.answers = [web.Response(status=302, headers={"Location": "/elsewhere"})]
    async with FarmConnection(credentials) as farm:
        with pytest.raises(Refused):
            await farm.get("/api/v1/jobs", JobPage)
    assert [path for _, path, _ in handler.asked] == ["/api/v1/jobs"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"jobs": 3, "next": null}'])
async def test_an_answer_that_makes_no_sense_is_said(served, body):
    handler, credentials = served
    handler.answers = [web.Response(body=body)]
    async with FarmConnection(credentials) as farm:
        with pytest.raises(Damaged, match="/api/v1/jobs"):
            await farm.get("/api/v1/jobs", JobPage)


async def test_answers_may_carry_fields_of_a_newer_version(served):
    handler, credentials = served
    handler.answers = [web.Response(body=b'{"jobs": [], "next": null, "news": 1}')]
    async with FarmConnection(credentials) as farm:
        assert (await farm.get("/api/v1/jobs", JobPage)).next is None


async def test_a_broken_line_is_mended(farm, far, line):
    line.break_down = [40, 10, 200]
    assert (await far.get("/api/v1/farm", FarmView)).farm_id == (await farm.health()).farm_id
    assert line.connections >= 4


def test_certificates_are_made_for_servers(tmp_path):
    assert isinstance(load_or_make_certificate(tmp_path).server_context(), ssl.SSLContext)
