"""A farm that only answers: the real page and the real bodies, over 200 nodes nobody has to run.

Everything the page can ask for is served from views of `protocol.views`, encoded as the
coordinator encodes them; actions change the views and tell it on the event stream.
"""

from __future__ import annotations

import asyncio
import dataclasses
import io
import itertools
import math
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler
from PIL import Image, ImageDraw
from rendermill.coordinator.web import CONTENT_SECURITY_POLICY, INDEX, STATIC_DIR
from rendermill.protocol import views
from rendermill.protocol.codec import encode_json
from rendermill.protocol.job import (
    Capability,
    FrameImage,
    JobKind,
    JobSpec,
    OutputRoot,
    Requirements,
    SceneRoot,
)
from rendermill.protocol.machine import BlenderInfo, Gpu, Machine
from rendermill.protocol.messages import FrameFile, FrameStats
from rendermill.protocol.states import FrameState, JobState, NodeState, WaitingKind

TOKEN = "0123456789abcdef" * 4
HOSTILE = '<img src=x onerror="window.hacked=1"><b>bold</b> & 🎬'

_COUNTS = {state: state.value for state in FrameState}


class ServedFarm:
    """Jobs, frames and nodes as views, and the events that told of their changes."""

    def __init__(self, now: float | None = None) -> None:
        self.now = time.time() if now is None else now
        self.jobs: dict[str, views.JobView] = {}
        self.specs: dict[str, JobSpec] = {}
        self.frames: dict[str, dict[int, views.FrameView]] = {}
        self.nodes: dict[str, views.NodeView] = {}
        self.events: list[views.Event] = []
        self.oldest = 0
        self.sequence = 100
        self.streams: set[asyncio.Queue[views.Event | None]] = set()
        self.attempts: dict[str, list[views.AttemptSpan]] = {}
        self.requests: list[tuple[str, str]] = []
        self.bodies: list[object] = []
        self.answering = asyncio.Event()
        """Cleared, actions are carried out and told, and their answers wait."""
        self.answering.set()
        self.listing = asyncio.Event()
        """Cleared, nobody gets a list of frames."""
        self.listing.set()

    # --- making ----------------------------------------------------------------------------

    def add_node(self, name: str, *, state: NodeState = NodeState.IDLE, **changes: Any) -> str:
        number = len(self.nodes)
        blender = BlenderInfo(
            version=(4, 5, 15),
            path="/opt/blender/blender",
            is_module=number % 3 == 0,
            engines=("CYCLES", "BLENDER_WORKBENCH"),
            capabilities=(Capability.OPENIMAGEDENOISE, Capability.OSL, Capability.ALEMBIC),
            gpus=(Gpu(backend="OPTIX", name="NVIDIA RTX 4090", id=f"gpu{number}"),)
            if number % 4 == 0
            else (),
            problems=("EEVEE does not work: no OpenGL was found; install libegl1.",)
            if number % 2
            else (),
        )
        machine = Machine(
            hostname=name,
            system="Linux 6.1",
            cpu="AMD Ryzen 9 7950X",
            cores=32,
            memory_bytes=64 * 1024**3,
            blenders=(blender,),
            tags=("gpu",) if number % 4 == 0 else (),
            sandbox="bubblewrap",
        )
        node = views.NodeView(
            id=f"{number:032x}",
            name=name,
            state=state,
            reason="",
            machine=machine,
            software="0.1.0",
            last_seen=self.now,
            load=0.4,
            memory_free_bytes=40 * 1024**3,
            disk_free_bytes=200 * 1024**3,
            job="",
            frame=None,
            progress=0.0,
            frames_done=12,
        )
        node = dataclasses.replace(node, **changes)
        self.nodes[node.id] = node
        return node.id

    def add_job(
        self, name: str, states: list[FrameState], *, pictures: bool = False, **changes: Any
    ) -> str:
        job_id = f"job{len(self.jobs):04d}"
        frames = {
            number: self.make_frame(number, state, pictures=pictures)
            for number, state in enumerate(states, start=1)
        }
        self.frames[job_id] = frames
        self.specs[job_id] = JobSpec(
            name=name,
            submitter="ada@studio",
            kind=JobKind.ANIMATION,
            blend="scene/shot.blend",
            scene="Scene",
            frames=f"1-{len(states)}",
            requires=Requirements(blender=(4, 5, 15), engine="CYCLES"),
            roots=(SceneRoot(folder="/home/ada", path="scene"),),
            outputs=(
                OutputRoot(
                    id="main", label="Render output", folder="/home/ada/out", name="shot_####"
                ),
            ),
            image=FrameImage(width=1920, height=1080, file_format="PNG"),
            view_layers=("ViewLayer", "Foreground"),
            camera="Camera",
            samples=128,
            client="rendermill 0.1.0, Blender 4.5.15",
        )
        job = views.JobView(
            id=job_id,
            name=name,
            submitter="ada@studio",
            state=JobState.RENDERING,
            paused=False,
            priority=50,
            frames=f"1-{len(states)}",
            counts=views.FrameCounts(),
            created=self.now - 600 + len(self.jobs),
            started=self.now - 580,
            ended=None,
            eta_seconds=754.0,
            eta_low_seconds=620.0,
            eta_high_seconds=940.0,
            mean_frame_seconds=2.4,
            nodes=(),
            waiting_because="",
            problem="",
            thumbnail_frame=max((n for n, f in frames.items() if f.thumbnail), default=None),
            generation=1,
            manifest="ab" * 32,
            scene_bytes=51_000_000,
            scene_files=37,
        )
        self.jobs[job_id] = dataclasses.replace(job, counts=self.count(job_id), **changes)
        return job_id

    def make_frame(
        self, number: int, state: FrameState, *, pictures: bool = False
    ) -> views.FrameView:
        done = state is FrameState.DONE
        failed = state is FrameState.FAILED
        return views.FrameView(
            frame=number,
            state=state,
            generation=1,
            node="0" * 32 if state is not FrameState.WAITING else "",
            progress=0.45 if state is FrameState.LEASED else float(done),
            progress_text="Sample 58/128" if state is FrameState.LEASED else "",
            stats=FrameStats(seconds=2.4, prepare_seconds=0.8, peak_memory_bytes=734_003_200)
            if done
            else None,
            files=(
                FrameFile(
                    root="main", path=f"shot_{number:04d}.png", sha256="cd" * 32, length=48_211
                ),
            )
            if done
            else (),
            thumbnail=f"{number:064x}" if done and pictures else "",
            failures=3 if failed else 0,
            problem="Blender ran out of memory: 61 GiB were in use." if failed else "",
        )

    def count(self, job_id: str) -> views.FrameCounts:
        counts = dict.fromkeys(_COUNTS.values(), 0)
        for frame in self.frames[job_id].values():
            counts[_COUNTS[frame.state]] += 1
        return views.FrameCounts(**counts)

    # --- changing --------------------------------------------------------------------------

    def tell(self, kind: str, **fields: Any) -> None:
        self.sequence += 1
        event = views.Event(sequence=self.sequence, kind=kind, time=self.now, **fields)
        self.events.append(event)
        for stream in self.streams:
            stream.put_nowait(event)

    def set_job(self, job_id: str, **changes: Any) -> views.JobView:
        job = dataclasses.replace(self.jobs[job_id], **changes)
        self.jobs[job_id] = job
        self.tell("job", job_id=job_id, job=job)
        return job

    def set_node(self, node_id: str, **changes: Any) -> views.NodeView:
        node = dataclasses.replace(self.nodes[node_id], **changes)
        self.nodes[node_id] = node
        self.tell("node", node_id=node_id, node=node)
        return node

    def set_frame(
        self, job_id: str, number: int, state: FrameState, *, pictures: bool = False
    ) -> None:
        frame = self.make_frame(number, state, pictures=pictures)
        self.frames[job_id][number] = frame
        self.tell("frame", job_id=job_id, frame=frame)
        changes: dict[str, Any] = {"counts": self.count(job_id)}
        if frame.thumbnail:
            changes["thumbnail_frame"] = number
        self.set_job(job_id, **changes)

    def drop_streams(self) -> None:
        """End every open event stream, as a coordinator that restarts does."""
        for stream in list(self.streams):
            stream.put_nowait(None)

    def forget_events(self) -> None:
        """Lose the events so far: whoever asks for one of them is told to start anew."""
        self.oldest = self.sequence
        self.events.clear()

    # --- answering -------------------------------------------------------------------------

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._guard])
        api = "/api/v1"
        app.router.add_get("/", self._index)
        app.router.add_static("/static/", STATIC_DIR)
        app.router.add_post(f"{api}/sign-in", self._sign_in)
        app.router.add_get(f"{api}/me", self._me)
        app.router.add_get(f"{api}/farm", self._farm)
        app.router.add_get(f"{api}/jobs", self._job_page)
        app.router.add_get(f"{api}/jobs/{{job}}", self._job)
        app.router.add_patch(f"{api}/jobs/{{job}}", self._priority)
        app.router.add_delete(f"{api}/jobs/{{job}}", self._remove)
        app.router.add_get(f"{api}/jobs/{{job}}/frames", self._frame_page)
        app.router.add_get(f"{api}/jobs/{{job}}/frames/{{frame}}", self._frame)
        app.router.add_get(f"{api}/jobs/{{job}}/frames/{{frame}}/thumbnail", self._thumbnail)
        app.router.add_get(f"{api}/jobs/{{job}}/frames/{{frame}}/files/{{index}}", self._thumbnail)
        app.router.add_get(f"{api}/jobs/{{job}}/frames/{{frame}}/preview", self._preview)
        app.router.add_get(f"{api}/jobs/{{job}}/attempts", self._attempts)
        app.router.add_get(f"{api}/farm/history", self._history)
        app.router.add_get(f"{api}/jobs/{{job}}/script", self._script)
        app.router.add_get(f"{api}/jobs/{{job}}/manifest", self._manifest)
        app.router.add_post(f"{api}/jobs/{{job}}/{{verb}}", self._act)
        app.router.add_get(f"{api}/nodes", self._node_page)
        app.router.add_post(f"{api}/nodes/{{node}}/{{verb}}", self._act_node)
        app.router.add_get(f"{api}/events", self._events)
        return app

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        runner = web.AppRunner(self.application(), shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            self.drop_streams()
            await runner.cleanup()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.requests.append((request.method, request.path))
        is_open = request.path == "/" or request.path.startswith("/static/")
        is_sign_in = request.path == "/api/v1/sign-in"
        if not is_open and not is_sign_in and request.cookies.get("rendermill_session") != TOKEN:
            return self._problem(401, "Sign in first.")
        response = await handler(request)
        if not response.prepared:
            response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
            response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    def _problem(self, status: int, detail: str) -> web.Response:
        body = encode_json(views.Problem(title="No", status=status, detail=detail))
        return web.Response(status=status, body=body, content_type="application/problem+json")

    def _json(self, view: object) -> web.Response:
        return web.Response(body=encode_json(view), content_type="application/json")

    async def _index(self, _request: web.Request) -> web.Response:
        return web.Response(body=INDEX.read_bytes(), content_type="text/html", charset="utf-8")

    async def _sign_in(self, request: web.Request) -> web.Response:
        if (await request.json())["token"] != TOKEN:
            return self._problem(401, "This token is not valid here. Copy it again.")
        response = web.json_response({})
        response.set_cookie("rendermill_session", TOKEN, httponly=True, samesite="Strict")
        return response

    async def _me(self, _request: web.Request) -> web.Response:
        may = ("see", "submit", "steer", "nodes")
        return self._json(views.Visitor(id="0" * 16, name="Ada", role="admin", may=may))

    async def _farm(self, _request: web.Request) -> web.Response:
        ended = {JobState.DONE, JobState.FAILED, JobState.CANCELLED}
        return self._json(
            views.FarmView(
                farm=f"Studio {HOSTILE}",
                farm_id="f" * 32,
                software="0.1.0",
                protocol=1,
                nodes_online=len(self.nodes),
                nodes_rendering=0,
                jobs_open=sum(job.state not in ended for job in self.jobs.values()),
                frames_waiting=0,
                frames_leased=0,
                disk_free_bytes=3 * 1024**4,
                sequence=self.sequence,
            )
        )

    async def _job_page(self, request: web.Request) -> web.Response:
        ordered = sorted(self.jobs.values(), key=lambda job: -job.created)
        start = int(request.query.get("after", "0"))
        end = start + int(request.query["limit"])
        following = str(end) if end < len(ordered) else None
        return self._json(views.JobPage(jobs=tuple(ordered[start:end]), next=following))

    async def _job(self, request: web.Request) -> web.Response:
        job = self.jobs.get(request.match_info["job"])
        if job is None:
            return self._problem(404, "There is no such job.")
        return self._json(views.JobDetail(job=job, spec=self.specs[job.id]))

    async def _frame_page(self, request: web.Request) -> web.Response:
        await self.listing.wait()
        after = int(request.query.get("after", "-2000000"))
        limit = int(request.query["limit"])
        frames = self.frames[request.match_info["job"]]
        numbers = [number for number in sorted(frames) if number > after]
        page = tuple(frames[number] for number in numbers[:limit])
        following = page[-1].frame if len(numbers) > limit else None
        return self._json(views.FramePage(frames=page, next=following))

    async def _frame(self, request: web.Request) -> web.Response:
        frame = self.frames[request.match_info["job"]][int(request.match_info["frame"])]
        attempt = views.AttemptView(
            node="0" * 32,
            node_name=next(iter(self.nodes.values())).name,
            epoch=1,
            started=self.now - 8,
            ended=self.now - 4,
            outcome="memory" if frame.failures else "done",
            reason=frame.problem,
            log=(f"Fra:{frame.frame} Mem:734M | Sample 12/128", HOSTILE),
        )
        return self._json(
            views.FrameDetail(frame=frame, attempts=(attempt,) * (1 + frame.failures))
        )

    async def _thumbnail(self, request: web.Request) -> web.Response:
        return web.Response(
            body=draw_picture(int(request.match_info["frame"])), content_type="image/png"
        )

    async def _preview(self, request: web.Request) -> web.Response:
        return web.Response(
            body=draw_picture(int(request.match_info["frame"]), (960, 540)),
            content_type="image/png",
        )

    async def _attempts(self, request: web.Request) -> web.Response:
        spans = self.attempts.get(request.match_info["job"], ())
        ended_after = float(request.query.get("ended_after", "0"))
        found = [one for one in spans if one.ended is None or one.ended > ended_after]
        start = int(request.query.get("after", "0"))
        end = start + int(request.query["limit"])
        nodes = tuple(views.NodeName(id=one.id, name=one.name) for one in self.nodes.values())
        following = str(end) if end < len(found) else None
        return self._json(
            views.AttemptPage(nodes=nodes, attempts=tuple(found[start:end]), next=following)
        )

    async def _history(self, _request: web.Request) -> web.Response:
        minutes = 75
        rendering = tuple(
            round(150 * (0.55 + 0.4 * math.sin(minute / 9)), 1) for minute in range(minutes)
        )
        return self._json(
            views.FarmHistory(
                start=(self.now // 60 - minutes + 1) * 60,
                minute_seconds=60,
                rendering=rendering,
                online=tuple(198.0 if minute > 20 else 150.0 for minute in range(minutes)),
                frames_done=tuple(int(value * 0.8) for value in rendering),
            )
        )

    async def _script(self, _request: web.Request) -> web.Response:
        return web.Response(text="import bpy\nprint('<b>not bold</b>')\n")

    async def _manifest(self, _request: web.Request) -> web.Response:
        return web.json_response(
            [
                {"path": "scene/shot.blend", "length": 50_000_000},
                {"path": f"scene/textures/{HOSTILE}.png", "length": 1_000_000},
            ]
        )

    async def _priority(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.bodies.append(body)
        changes = {"priority": body["priority"]} if "priority" in body else {}
        return self._json(self.set_job(request.match_info["job"], **changes))

    async def _remove(self, request: web.Request) -> web.Response:
        job_id = request.match_info["job"]
        del self.jobs[job_id]
        self.tell("job_removed", job_id=job_id)
        return web.Response(status=204)

    async def _act(self, request: web.Request) -> web.Response:
        job_id, verb = request.match_info["job"], request.match_info["verb"]
        if request.can_read_body:
            self.bodies.append(await request.json())
        if verb in ("pause", "resume"):
            job = self.set_job(job_id, paused=verb == "pause")
            await self.answering.wait()
            return self._json(job)
        if verb == "cancel":
            return self._json(
                self.set_job(job_id, state=JobState.CANCELLED, ended=self.now, nodes=())
            )
        return self._problem(409, "The job cannot be retried: nothing failed.")

    async def _node_page(self, _request: web.Request) -> web.Response:
        return self._json(views.NodePage(nodes=tuple(self.nodes.values())))

    async def _act_node(self, request: web.Request) -> web.Response:
        state = {"drain": NodeState.DRAINING, "enable": NodeState.IDLE}[request.match_info["verb"]]
        return self._json(self.set_node(request.match_info["node"], state=state))

    async def _events(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        after = int(request.query["after"])
        queue: asyncio.Queue[views.Event | None] = asyncio.Queue()
        if after < self.oldest:
            queue.put_nowait(views.Event(sequence=self.sequence, kind="reset", time=self.now))
        for event in self.events:
            if event.sequence > after:
                queue.put_nowait(event)
        self.streams.add(queue)
        try:
            while (event := await queue.get()) is not None:
                await response.write(b"id: %d\ndata: %s\n\n" % (event.sequence, encode_json(event)))
        except ConnectionResetError:
            pass  # The page was closed or went elsewhere.
        finally:
            self.streams.discard(queue)
        return response


def render_history(farm: ServedFarm, job_id: str, nodes: list[str]) -> None:
    """Give every frame of a job that was begun its tries: failures, retries and second copies."""
    dice = random.Random(3)
    free_at = [farm.now - 3000.0] * len(nodes)
    spans: list[views.AttemptSpan] = []
    places = list(farm.nodes)
    for number, frame in farm.frames[job_id].items():
        if frame.state in (FrameState.WAITING, FrameState.CANCELLED):
            continue
        before = 0.0
        tries = 1 + (frame.state is FrameState.FAILED) * 2 + (dice.random() < 0.03)
        for epoch in range(1, tries + 1):
            lane = min(range(len(nodes)), key=free_at.__getitem__)
            started = max(free_at[lane], before)
            ended = before = started + dice.uniform(20, 60)
            outcome = "done" if epoch == tries else "crash"
            if frame.state is FrameState.FAILED:
                outcome = "memory"
            is_open = frame.state is FrameState.LEASED and epoch == tries
            spans.append(
                views.AttemptSpan(
                    frame=number, generation=1, epoch=epoch, node=places.index(nodes[lane]),
                    started=started, ended=None if is_open else ended,
                    outcome="rendering" if is_open else outcome,
                    reason="" if outcome == "done" else "Blender ended by signal 11.",
                )
            )  # fmt: skip
            free_at[lane] = ended + 0.4
            if dice.random() < 0.02 and not is_open:
                other = (lane + 1) % len(nodes)
                spans.append(
                    views.AttemptSpan(
                        frame=number, generation=1, epoch=90 + epoch,
                        node=places.index(nodes[other]), started=started + 10, ended=ended,
                        outcome="superseded",
                    )
                )  # fmt: skip
                free_at[other] = max(free_at[other], ended)
            stats = FrameStats(seconds=ended - started, peak_memory_bytes=734_003_200)
            if outcome == "done" and not is_open:
                farm.frames[job_id][number] = dataclasses.replace(
                    farm.frames[job_id][number], stats=stats, node=nodes[lane]
                )
    farm.attempts[job_id] = spans


def draw_picture(frame: int, size: tuple[int, int] = (320, 180)) -> bytes:
    """Return a PNG that differs from frame to frame."""
    picture = Image.new("RGB", (320, 180))
    draw = ImageDraw.Draw(picture)
    for y in range(180):
        draw.line((0, y, 320, y), fill=(40 + y // 2, 90, 150 - y // 3))
    x = 20 + (frame * 7) % 240
    draw.ellipse((x, 50, x + 80, 130), fill=(224, 161, 27))
    picture = picture.resize(size)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def large_farm() -> ServedFarm:
    """Two hundred nodes and jobs in every state, one of ten thousand frames, names full of HTML."""
    farm = ServedFarm()
    dice = random.Random(7)
    names = itertools.chain([HOSTILE], (f"node-{number:03d}" for number in itertools.count(1)))
    for number in range(200):
        farm.add_node(next(names), state=NodeState.RENDERING if number < 150 else NodeState.IDLE)
    ids = list(farm.nodes)
    states = [FrameState.DONE] * 6000 + [FrameState.LEASED] * 140 + [FrameState.WAITING] * 3860
    for _ in range(30):
        states[dice.randrange(6000)] = FrameState.FAILED
    big = farm.add_job(
        "Feature film, reel 3", states, nodes=tuple(ids[:140]),
        problem="Frame 512 failed on node-004: Blender ran out of memory.",
    )  # fmt: skip
    for index, node_id in enumerate(ids[:140]):
        farm.nodes[node_id] = dataclasses.replace(
            farm.nodes[node_id], job=big, frame=6001 + index, progress=dice.random()
        )
    mixed = [FrameState.DONE] * 26 + [FrameState.LEASED] * 3 + [FrameState.FAILED] * 2
    farm.add_job(
        f"Shot 042 {HOSTILE}", mixed + [FrameState.WAITING] * 9, pictures=True, nodes=(ids[141],)
    )
    farm.add_job(
        "Logo turntable", [FrameState.WAITING] * 120, state=JobState.QUEUED, started=None,
        eta_seconds=None, eta_low_seconds=None, eta_high_seconds=None, mean_frame_seconds=None,
        waiting_because="No node has Blender 5.1; install it on one, or render with 4.5.",
        waiting_kind=WaitingKind.NO_NODE,
    )  # fmt: skip
    farm.add_job(
        "Title card", [FrameState.DONE] * 48, pictures=True, state=JobState.DONE,
        ended=farm.now - 60, eta_seconds=None,
    )  # fmt: skip
    farm.nodes[ids[199]] = dataclasses.replace(
        farm.nodes[ids[199]], state=NodeState.OFFLINE, left_job=big, left_frame=6003
    )
    render_history(farm, big, ids[:150])
    render_history(farm, "job0001", ids[140:143])
    farm.nodes[ids[198]] = dataclasses.replace(
        farm.nodes[ids[198]],
        state=NodeState.DISABLED,
        reason="Its cache disk is full: 0.2 GiB free.",
    )
    return farm
