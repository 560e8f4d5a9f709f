"""What the interface says to those who have no business here, or bring rubbish."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import re
import secrets
import struct
from dataclasses import replace

import aiohttp
import pytest
import zstandard
from aiohttp import web
from rendermill.coordinator.api import guard
from rendermill.coordinator.api.node_link import CLOSE_BAD_MESSAGE, CLOSE_PROTOCOL
from rendermill.coordinator.identity.joining import WRONG_TRIES_MAX
from rendermill.coordinator.store import schema
from rendermill.protocol import PROTOCOL_VERSION
from rendermill.protocol.batch import BATCH_MAX_BLOBS, RecordHeader, pack_header
from rendermill.protocol.codec import encode_json, encode_message, from_plain
from rendermill.protocol.job import Film, OutputRoot, Requirements, SceneRoot
from rendermill.protocol.messages import Heartbeat
from rendermill.protocol.states import JobState
from rendermill.protocol.views import JobPage, Problem
from rendermill.wire.errors import NotAllowed, Refused
from sqlalchemy import select


async def ask(raw, coordinator, method, path, *, token=None, expect, **more) -> Problem:
    """Send a request that must be refused with a proper problem; return it."""
    headers = dict(more.pop("headers", {}))
    if token != "":
        headers.setdefault("Authorization", f"Bearer {token or coordinator.token}")
    async with raw.request(method, coordinator.url + path, headers=headers, **more) as answer:
        body = await answer.read()
        assert answer.status == expect, body
        assert answer.content_type == "application/problem+json"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        problem = from_plain(json.loads(body), Problem)
        assert problem.status == expect
        assert problem.detail.endswith((".", ".."))
        return problem


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# --- who ---------------------------------------------------------------------------------------


async def test_every_route_asks_for_a_token(coordinator, raw):
    open_to_all = {
        "/health",
        "/",
        "/static/{path}",
        "/api/v1/join",
        "/api/v1/sign-in",
        "/api/v1/sign-out",
    }
    like = {"frame": "1", "index": "0", "token": "0" * 16}
    seen = 0
    for resource in coordinator.app.router.resources():
        for route in resource:
            if resource.canonical in open_to_all:
                continue
            path = re.sub(
                r"\{(\w+)\}", lambda name: like.get(name[1], "0" * 32), resource.canonical
            )
            for token in ("", "wrong", secrets.token_hex(32)):
                if route.method != "HEAD":
                    await ask(raw, coordinator, route.method, path, token=token, expect=401)
            assert guard.roles_of(route.handler), path
            seen += 1
    assert seen > 30


@pytest.mark.parametrize(
    ("role", "method", "path"),
    [
        ("view", "POST", "/api/v1/jobs"),
        ("view", "PUT", f"/api/v1/blobs/{'0' * 64}"),
        ("view", "DELETE", f"/api/v1/jobs/{'0' * 32}"),
        ("node", "POST", "/api/v1/jobs"),
        ("node", "GET", "/api/v1/jobs"),
        ("submit", "POST", f"/api/v1/nodes/{'0' * 32}/drain"),
        ("submit", "GET", "/api/v1/node"),
    ],
)
async def test_roles_are_held(coordinator, raw, as_role, role, method, path):
    async with as_role(role) as member:
        token = member.credentials.token
        problem = await ask(raw, coordinator, method, path, token=token, expect=403)
        assert role in problem.detail


async def test_a_revoked_token_is_out_at_once_and_after_a_restart(start):
    first = await start()
    token = await first.tokens.issue("lost laptop", guard.Role.SUBMIT)
    member = first.tokens.check(token)
    assert member is not None
    assert await first.tokens.revoke(member.id)
    assert first.tokens.check(token) is None
    await first.stop()
    second = await start()
    assert second.tokens.check(token) is None
    assert second.tokens.check(second.token) is not None


async def test_joining(coordinator, raw):
    async def join(secret: str, kind: str = "node") -> tuple[int, dict]:
        body = {"secret": secret, "name": "box", "kind": kind}
        async with raw.post(f"{coordinator.url}/api/v1/join", json=body) as answer:
            return answer.status, await answer.json(content_type=None)

    good = coordinator.join_token.secret
    status, given = await join(good)
    assert status == 200
    assert given["farm_id"] == coordinator.credentials.farm_id
    member = coordinator.tokens.check(given["token"])
    assert member is not None
    assert member.role is guard.Role.NODE
    assert (await join(good, "king"))[0] == 422
    for _ in range(WRONG_TRIES_MAX):
        assert (await join("0" * 32))[0] == 403
    # From here on even the right secret waits.
    async with raw.post(
        f"{coordinator.url}/api/v1/join", json={"secret": good, "name": "b", "kind": "node"}
    ) as answer:
        assert answer.status == 429
        assert int(answer.headers["Retry-After"]) > 0


async def test_signing_in_with_a_cookie(coordinator, raw):
    url, origin = coordinator.url, {"Origin": coordinator.url}
    body = {"token": coordinator.token}
    async with raw.post(f"{url}/api/v1/sign-in", json=body, headers=origin) as answer:
        assert answer.status == 200
        cookie = answer.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
    jar = {guard.COOKIE: coordinator.token}
    async with aiohttp.ClientSession(cookies=jar) as browser:
        async with browser.get(f"{url}/api/v1/farm") as answer:
            assert answer.status == 200
        path = f"{url}/api/v1/jobs/{'0' * 32}"
        async with browser.delete(path, headers=origin) as answer:
            assert answer.status == 404
        # With the cookie alone, nobody knows whose page asks.
        async with browser.delete(path) as answer:
            assert answer.status == 403
    await ask(
        raw, coordinator, "POST", "/api/v1/sign-in", token="", expect=401, json={"token": "x"}
    )


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7878", "localhost.evil.example", ""]
)
async def test_a_foreign_host_is_refused(coordinator, raw, host):
    await ask(raw, coordinator, "GET", "/health", headers={"Host": host}, expect=400)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_another_site_changes_nothing(coordinator, raw, headers, method):
    await ask(raw, coordinator, method, f"/api/v1/jobs/{'0' * 32}", headers=headers, expect=403)


async def test_another_site_opens_no_websocket(coordinator, raw):
    with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
        await raw.ws_connect(
            f"{coordinator.url}/api/v1/node",
            headers={"Authorization": f"Bearer {coordinator.token}"},
            origin="https://evil.example",
        )
    assert refusal.value.status == 403


# --- what --------------------------------------------------------------------------------------


async def test_what_is_not_there(coordinator, raw):
    for path in ("/nothing", "/api/v2/jobs", "/static/../api.js", "/static/%2e%2e/__init__.py"):
        await ask(raw, coordinator, "GET", path, expect=404)
    zeros = "0" * 32
    for path in (
        f"/api/v1/jobs/{zeros}",
        f"/api/v1/jobs/{zeros}/frames",
        f"/api/v1/jobs/{zeros}/frames/1",
        f"/api/v1/jobs/{zeros}/script",
        f"/api/v1/nodes/{zeros}",
        f"/api/v1/blobs/{zeros}{zeros}",
    ):
        await ask(raw, coordinator, "GET", path, expect=404)
    for action in ("cancel", "pause", "resume", "retry"):
        await ask(raw, coordinator, "POST", f"/api/v1/jobs/{zeros}/{action}", expect=404)
    await ask(raw, coordinator, "PUT", "/api/v1/jobs", expect=405)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b"\xff\xfe", 400),
        (b"[" * 100_000, 400),
        (b'{"spec": 1, "manifest": ""}', 400),
        (b'{"blobs": []}', 400),
        (b" " * (1024 * 1024 + 1), 413),
    ],
)
async def test_bad_json(coordinator, raw, body, status):
    for kind, expect in (("application/json", status), ("text/plain", 415)):
        await ask(
            raw,
            coordinator,
            "POST",
            "/api/v1/jobs",
            data=io.BytesIO(body),
            headers={"Content-Type": kind},
            expect=expect,
        )


async def test_an_unknown_field_is_named(coordinator, raw, scene):
    body = json.loads(encode_json(scene().submission))
    body["spec"]["colour"] = "red"
    problem = await ask(raw, coordinator, "POST", "/api/v1/jobs", json=body, expect=400)
    assert "colour" in problem.detail


ROOT = OutputRoot(id="main", label="", folder="/out", name="f")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"frames": ""}, "empty"),
        ({"frames": "10-1"}, "backwards"),
        ({"name": " "}, "name"),
        ({"requires": Requirements(blender=(4, 5, 0), engine="LUXCORE")}, "LUXCORE"),
        ({"priority": 101}, "priority"),
        ({"blend": "scene/other.blend"}, "not among the files"),
        ({"blend": "../shot.blend"}, "safely"),
        ({"outputs": ()}, "outputs"),
        ({"outputs": (ROOT, ROOT)}, "twice"),
        ({"outputs": (replace(ROOT, id="../up"),)}, "output id"),
        *(
            ({"outputs": (replace(ROOT, name=name),)}, "leads out")
            for name in ("../up", "a/../../b", "..", "C:/up", "a/d:up", "a\\..\\up", "a\0b")
        ),
        ({"roots": (SceneRoot(folder="C:\\", path="a/../b"),)}, "safely"),
        ({"view_layers": ("layer" * 60_000, "layer" * 60_000)}, "settings of the job"),
        ({"frames": ",".join(["1-200000"] * 11)}, "more than"),
        ({"film": Film(name="f.mp4", folder="/", fps=24.0)}, "FFmpeg"),
        ({"film": Film(name="../f.mp4", folder="/", fps=24.0)}, "not safe"),
        ({"film": Film(name="f.mp4", folder="/", fps=0.0)}, "frames a second"),
        ({"film": Film(name="f.mp4", folder="/", fps=24.0), "frames": "1-3, 9"}, "unbroken"),
        ({"depends_on": ("0" * 32,)}, "depends on"),
    ],
)
async def test_a_spec_that_cannot_be_is_422(farm, scene, changes, words):
    shot = scene()
    await shot.upload(farm)
    shot.spec = replace(shot.spec, **changes)
    with pytest.raises(Refused, match=words) as refusal:
        await shot.submit(farm)
    assert refusal.value.problem.status == 422
    assert not (await farm.get("/api/v1/jobs", JobPage)).jobs


async def test_joining_and_trusting_scripts_are_in_the_audit_log(coordinator, farm, raw, scene):
    body = {"secret": coordinator.join_token.secret, "name": "render box", "kind": "node"}
    async with raw.post(f"{coordinator.url}/api/v1/join", json=body) as answer:
        assert answer.status == 200
    for trusts in (False, True):
        shot = scene(trust_scripts=trusts)
        await shot.upload(farm)
        await shot.submit(farm)
    rows = await coordinator.store.read(
        lambda connection: connection.execute(select(schema.audit)).all()
    )
    assert [row.action for row in rows] == ["join", "submit", "submit", "trust scripts"]
    assert rows[0].member.startswith("render box (node ")
    assert rows[0].address == "127.0.0.1"
    assert rows[3].subject == rows[2].subject != rows[1].subject


async def test_what_stands_in_a_template_is_no_drive(farm, scene):
    shot = scene(outputs=(replace(ROOT, name="{scene_name}/{frame:04}_.."),))
    await shot.upload(farm)
    assert (await shot.submit(farm)).state is JobState.QUEUED


async def test_a_number_nothing_can_carry_is_refused(coordinator, raw, scene):
    """msgpack ends at 64 bits: taken in, it would break the line to every node that got the job."""
    body = json.loads(encode_json(scene().submission))
    body["spec"]["samples"] = 10**30
    problem = await ask(raw, coordinator, "POST", "/api/v1/jobs", json=body, expect=400)
    assert "64 bits" in problem.detail


async def test_a_job_whose_scene_is_not_here_names_what_is_missing(farm, scene):
    from rendermill.wire import blobs

    shot = scene(content=b"only here")
    with pytest.raises(Refused) as refusal:
        await shot.submit(farm)
    assert refusal.value.problem.missing == (sha256(shot.manifest),)
    await blobs.put_bytes(farm, shot.manifest)
    with pytest.raises(Refused) as refusal:
        await shot.submit(farm)
    assert refusal.value.problem.status == 409
    assert set(refusal.value.problem.missing) == set(shot.chunks)
    rubbish = await blobs.put_bytes(farm, b"\x93\x01")
    shot.manifest = b"\x93\x01"
    assert rubbish == sha256(shot.manifest)
    with pytest.raises(Refused, match="manifest") as refusal:
        await shot.submit(farm)
    assert refusal.value.problem.status == 422


# --- blobs -------------------------------------------------------------------------------------


def record(raw: bytes, name: str = "", payload: bytes | None = None, length: int = 0) -> bytes:
    header = RecordHeader(
        name or sha256(raw), length or len(raw), len(payload or raw), payload is not None
    )
    return pack_header(header) + (payload or raw)


BOMB = zstandard.compress(bytes(32 << 20))
"""32 MiB of zeros in a kilobyte."""


@pytest.mark.parametrize(
    ("bad", "status", "words"),
    [
        (record(b"one")[:-1], 400, "ends inside"),
        (record(b"one")[:20], 400, "ends inside"),
        (record(b"one", name="ab" * 32), 400, "ab" * 32),
        (struct.pack(">32sII", bytes(32), 0, 0), 400, "1 to"),
        (struct.pack(">32sII", bytes(32), 1 << 30, 1 << 30), 400, "1 to"),
        (struct.pack(">32sII", bytes(32), 5, 6), 400, "fit together"),
        (record(b"", "ab" * 32, BOMB, 1 << 20), 400, "length"),
        (record(b"", "ab" * 32, b"no zstd", 100), 400, "zstd"),
    ],
)
async def test_a_bad_record_is_named_and_those_before_it_are_kept(
    coordinator, raw, bad, status, words
):
    good = [b"first", b"second"]
    body = b"".join(map(record, good)) + bad
    problem = await ask(raw, coordinator, "POST", "/api/v1/blobs", data=body, expect=status)
    assert words in problem.detail
    headers = {"Authorization": f"Bearer {coordinator.token}"}
    names = [sha256(data) for data in good] + ["ab" * 32]
    async with raw.post(
        f"{coordinator.url}/api/v1/blobs/missing", json={"blobs": names}, headers=headers
    ) as answer:
        assert await answer.json() == {"missing": ["ab" * 32]}


async def test_too_many_at_once(coordinator, raw):
    names = [f"{number:064x}" for number in range(BATCH_MAX_BLOBS + 1)]
    for path in ("missing", "fetch"):
        await ask(
            raw, coordinator, "POST", f"/api/v1/blobs/{path}", json={"blobs": names}, expect=413
        )
    body = b"".join(record(b"%d" % number) for number in range(BATCH_MAX_BLOBS + 1))
    await ask(raw, coordinator, "POST", "/api/v1/blobs", data=body, expect=413)
    for name in ("xyz", "AB" * 32, "../" * 20 + "a" * 4):
        await ask(
            raw, coordinator, "POST", "/api/v1/blobs/missing", json={"blobs": [name]}, expect=400
        )


async def test_putting_a_blob(coordinator, raw):
    data = secrets.token_bytes(700_000)
    headers = {"Authorization": f"Bearer {coordinator.token}"}
    url = f"{coordinator.url}/api/v1/blobs/{sha256(data)}"
    for status in (201, 200):
        async with raw.put(url, data=data, headers=headers) as answer:
            assert answer.status == status
    packed = {**headers, "Content-Encoding": "zstd"}
    text = b"text " * 100_000
    url = f"{coordinator.url}/api/v1/blobs/{sha256(text)}"
    async with raw.put(url, data=zstandard.compress(text), headers=packed) as answer:
        assert answer.status == 201
    async with raw.get(url, headers={**headers, "Range": "bytes=5-8"}) as answer:
        assert answer.status == 206
        assert await answer.read() == b"text"
        assert answer.headers["Content-Range"] == f"bytes 5-8/{len(text)}"
    async with raw.get(url, headers={**headers, "Range": "bytes=-5"}) as answer:
        assert await answer.read() == b"text "
    async with raw.get(url, headers={**headers, "If-None-Match": f'"{sha256(text)}"'}) as answer:
        assert answer.status == 304
    async with raw.head(url, headers=headers) as answer:
        assert int(answer.headers["Content-Length"]) == len(text)
    path = url.removeprefix(coordinator.url)
    await ask(raw, coordinator, "GET", path, headers={"Range": "bytes=900000-"}, expect=416)


async def test_a_blob_that_is_not_what_it_says_leaves_nothing(coordinator, raw, data):
    path = f"/api/v1/blobs/{'cd' * 32}"
    await ask(raw, coordinator, "PUT", path, data=b"other bytes", expect=422)
    for body in (b"no zstd at all", BOMB):
        await ask(
            raw,
            coordinator,
            "PUT",
            path,
            data=body,
            headers={"Content-Encoding": "zstd"},
            expect=422,
        )
    await ask(
        raw, coordinator, "PUT", path, data=b"x", headers={"Content-Encoding": "br"}, expect=415
    )

    async def pieces():
        yield b"without a length"

    await ask(raw, coordinator, "PUT", path, data=pieces(), expect=411)
    await ask(raw, coordinator, "PUT", "/api/v1/blobs/zz", data=b"x", expect=400)
    assert list((data / "blobs" / "temp").iterdir()) == []
    await ask(raw, coordinator, "GET", path, expect=404)


async def test_an_upload_that_breaks_off_leaves_nothing(coordinator, data):
    host, port = coordinator.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        (
            f"PUT /api/v1/blobs/{'ee' * 32} HTTP/1.1\r\nHost: {host}\r\n"
            f"Authorization: Bearer {coordinator.token}\r\nContent-Length: 1000000\r\n\r\n"
        ).encode()
        + b"x" * 1000
    )
    await writer.drain()
    temp = data / "blobs" / "temp"
    async with asyncio.timeout(60):
        # Only the folder itself tells when the server has seen each of the two.
        while not list(temp.iterdir()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        writer.close()
        while list(temp.iterdir()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    del reader


async def test_a_full_disk_is_507_and_stores_nothing(coordinator, raw, farm, scene, data):
    shot = scene(content=b"too much")
    coordinator.store.blobs.reserve = 1 << 60
    await ask(raw, coordinator, "PUT", f"/api/v1/blobs/{sha256(b'x')}", data=b"x", expect=507)
    problem = await ask(raw, coordinator, "POST", "/api/v1/blobs", data=record(b"x"), expect=507)
    assert "free space" in problem.detail
    assert list((data / "blobs" / "temp").iterdir()) == []
    # It was only full: once there is room, everything goes on.
    coordinator.store.blobs.reserve = 0
    await shot.upload(farm)
    await shot.submit(farm)


# --- the WebSocket -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "code", "words"),
    [
        (b"rubbish", CLOSE_BAD_MESSAGE, ""),
        (
            encode_message(Heartbeat(load=0, memory_free_bytes=0, disk_free_bytes=0)),
            CLOSE_BAD_MESSAGE,
            "Hello",
        ),
        ("text", CLOSE_BAD_MESSAGE, "binary"),
        (
            {"protocol": PROTOCOL_VERSION + 1},
            CLOSE_PROTOCOL,
            "update Rendermill on the coordinator",
        ),
        ({"protocol": 0}, CLOSE_PROTOCOL, "update Rendermill on the node"),
        ({"node": "../../etc"}, CLOSE_BAD_MESSAGE, "id"),
    ],
)
async def test_a_node_that_cannot_be_one(farm, make_node, first, code, words):
    async with farm.websocket("/api/v1/node") as socket:
        if isinstance(first, dict):
            first = encode_message(make_node(farm).hello(**first))
        await (socket.send_str(first) if isinstance(first, str) else socket.send_bytes(first))
        frame = await socket.receive(timeout=60)
        assert frame.type is aiohttp.WSMsgType.CLOSE
        assert frame.data == code
        assert words in frame.extra


async def test_a_node_that_comes_back_replaces_itself(farm, make_node):
    old, new = make_node(farm), make_node(farm)
    async with old.connected(), new.connected():
        frame = await old.socket.receive(timeout=60)
        assert frame.type is aiohttp.WSMsgType.CLOSE
        assert "again" in frame.extra
        await new.send(Heartbeat(load=0.5, memory_free_bytes=1, disk_free_bytes=1))
        from rendermill.protocol.states import NodeState
        from rendermill.protocol.views import NodePage

        (view,) = (await farm.get("/api/v1/nodes", NodePage)).nodes
        assert view.state is not NodeState.OFFLINE


async def test_a_wrong_token_opens_no_websocket(coordinator, farm):
    from rendermill.wire.connection import FarmConnection

    async with FarmConnection(replace(coordinator.credentials, token="0" * 64)) as stranger:
        with pytest.raises(NotAllowed):
            async with stranger.websocket("/api/v1/node"):
                pass


# --- the event stream --------------------------------------------------------------------------


@pytest.mark.parametrize("last", ["0", "1", "99999999999999999", "not a number", "-5"])
async def test_events_that_are_gone_are_a_reset(coordinator, raw, last):
    headers = {"Authorization": f"Bearer {coordinator.token}", "Last-Event-ID": last}
    async with raw.get(f"{coordinator.url}/api/v1/events", headers=headers) as answer:
        while True:
            line = await asyncio.wait_for(answer.content.readline(), 60)
            if line.startswith(b"data:"):
                assert json.loads(line[5:])["kind"] == "reset"
                break


def test_no_route_is_forgotten_by_the_guard():
    assert guard.roles_of(web.Application) == frozenset()
