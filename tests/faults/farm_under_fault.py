"""A real farm that is hurt on purpose, and the account that is asked of it afterwards.

`FarmUnderFault` is `scripts/local_farm.py` with a hand for harm: kill, freeze, cut. It submits
through the real client, follows every job as a client does (`history`), and in the end holds what
the client was told, what the nodes say they did, and what lies on the disk against each other
(`promises`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
from rendermill.addon.client.submission import submit
from rendermill.protocol.frames import parse_frames
from rendermill.protocol.scene import CapturedScene
from rendermill.wire.connection import FarmConnection
from rendermill.wire.credentials import Credentials

from ..local_farms import local_farm
from .history import History
from .promises import Disk

PATIENCE_SECONDS = 180.0
"""For whatever must come: it normally comes within seconds, on a busy machine within twenty."""

TEST_SECONDS = 1200.0
"""Before a whole test here is given up: its waits tell more of what went wrong, so they end first.
"""

POLL_SECONDS = 0.05

LEASE_SECONDS = 6.0
"""Of the farms here: a seventh of the usual, so that a lease can run out while a test waits."""

LATE_SECONDS = 10.0
"""A node may begin a second copy of a frame in the moment in which the first is done; that it
begins so much later, on no lease that anyone knows of, is a frame given out without need."""


def wait_until(
    true: Callable[[], bool], what: str | Callable[[], str], seconds: float = PATIENCE_SECONDS
) -> None:
    """Wait for other processes to reach a state; fail with ``what`` when they never do."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise AssertionError(f"never: {what if isinstance(what, str) else what()}")
        time.sleep(POLL_SECONDS)


@dataclass(frozen=True)
class FollowedJob:
    """A job that was accepted, and what its submitter has heard of it."""

    id: str
    frames: list[int]
    size: tuple[int, int]
    history: History


class FarmUnderFault:
    """Coordinator and nodes as processes with one home; use as a context manager.

    `check` at the end of a test is what the test is about; leaving the block only cleans up.
    """

    def __init__(
        self, folder: Path, *, answers: Path, lease_seconds: float = LEASE_SECONDS
    ) -> None:
        self.folder = folder
        self.lease_seconds = lease_seconds
        self.farm = local_farm.LocalFarm(folder, answers=answers)
        self.jobs: list[FollowedJob] = []
        self._stack = contextlib.ExitStack()
        self._frozen: set[str] = set()

    def __enter__(self) -> FarmUnderFault:
        """Make the folder; nothing is started yet."""
        self._stack.enter_context(self.farm)
        self._stack.callback(self.thaw_all)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything that still runs."""
        self._stack.close()

    # --- members -------------------------------------------------------------------------------

    @property
    def home(self) -> Path:
        """The RENDERMILL_HOME of every member."""
        return self.folder / "home"

    @property
    def credentials(self) -> Credentials:
        """What a client of this user gets in with."""
        plain = json.loads((self.home / "config" / "local.json").read_text())
        return Credentials(
            **{name: plain[name] for name in ("url", "token", "fingerprint", "farm", "farm_id")}
        )

    def start_coordinator(self, *words: str) -> Any:
        """Start (again) the coordinator; returns when it answers."""
        return self.farm.start_coordinator("--lease", str(self.lease_seconds), *words)

    def start_node(self, name: str, *words: str) -> Any:
        """Start (again) a node of this name; see `wait_ready`."""
        return self.farm.start_node(name, "--json", "--grace", "0", *words)

    def enter_namespace(self, name: str, namespace: str) -> None:
        """Start this member in a network namespace from now on (Linux, root)."""
        self.farm.launchers[name] = ["ip", "netns", "exec", namespace]

    def surround(self, name: str, variables: Mapping[str, str]) -> None:
        """Start this member with these variables of its environment from now on (POSIX)."""
        # As it is executed, the member keeps the process id of `env`.
        words = [f"{key}={value}" for key, value in variables.items()]
        self.farm.launchers[name] = ["env", *words]

    def wait_ready(self, *names: str) -> None:
        """Wait until these nodes are idle or at work."""
        self.farm.wait_ready(names)

    def start(self, *names: str) -> FarmUnderFault:
        """Start a coordinator and nodes, and wait for all of them."""
        self.start_coordinator()
        for name in names:
            self.start_node(name)
        self.wait_ready(*names)
        return self

    def pid(self, name: str) -> int:
        """Process id of a member."""
        return int(self.farm.members[name].process.pid)

    def blenders(self, node: str) -> list[psutil.Process]:
        """What runs below a node: its Blender, its sandbox, its probes."""
        try:
            return psutil.Process(self.pid(node)).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    # --- harm ----------------------------------------------------------------------------------

    def kill(self, name: str) -> None:
        """Kill -9 a member alone; what it started is left to itself."""
        self.farm.members[name].kill()

    def kill_blender(self, node: str) -> bool:
        """Kill -9 every process below a node; whether there was one."""
        found = self.blenders(node)
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
        return bool(found)

    def freeze(self, name: str) -> None:
        """SIGSTOP a member and everything below it, as a suspended machine."""
        self._frozen.add(name)
        # The member first: it must not see its children stand still.
        os.kill(self.pid(name), signal.SIGSTOP)
        for process in self.blenders(name):
            with contextlib.suppress(psutil.Error):
                process.suspend()

    def thaw(self, name: str) -> None:
        """SIGCONT what `freeze` stopped."""
        self._frozen.discard(name)
        for process in self.blenders(name):
            with contextlib.suppress(psutil.Error):
                process.resume()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid(name), signal.SIGCONT)

    def thaw_all(self) -> None:
        """Let nothing stand still: a stopped process cannot even be asked to end."""
        for name in list(self._frozen):
            self.thaw(name)

    # --- jobs ----------------------------------------------------------------------------------

    def submit(self, scene: CapturedScene, frames: str) -> FollowedJob:
        """Send a scene with the real client and follow the job from now on."""
        spec = replace(scene.spec, frames=frames)
        captured = replace(scene, spec=spec)

        async def send() -> str:
            async with FarmConnection(self.credentials, patience_seconds=PATIENCE_SECONDS) as farm:
                return (await submit(farm, captured)).job.id

        return self.follow(asyncio.run(send()), frames, (spec.image.width, spec.image.height))

    def follow(self, job: str, frames: str, size: tuple[int, int]) -> FollowedJob:
        """Follow a job that was submitted in another way."""
        history = self._stack.enter_context(History(self.credentials, job))
        followed = FollowedJob(job, sorted(parse_frames(frames)), size, history)
        self.jobs.append(followed)
        return followed

    def view(self, job: FollowedJob) -> dict[str, Any]:
        """The job as the coordinator shows it; {} while there is none."""
        try:
            return dict(self.farm.job(job.id))
        except (OSError, ValueError):
            return {}

    def frames(self, job: FollowedJob) -> list[dict[str, Any]]:
        """The frames as the coordinator shows them; [] while there is none."""
        try:
            frames: list[dict[str, Any]] = self.farm.ask("GET", f"/api/v1/jobs/{job.id}/frames")[
                "frames"
            ]
        except (OSError, ValueError):
            return []
        return frames

    def attempts(self, job: FollowedJob, frame: int) -> list[dict[str, Any]]:
        """All tries at a frame as the coordinator shows them."""
        found: list[dict[str, Any]] = self.farm.ask("GET", f"/api/v1/jobs/{job.id}/frames/{frame}")[
            "attempts"
        ]
        return found

    def done(self, job: FollowedJob) -> int:
        """How many frames the coordinator says are done; -1 while there is none."""
        return int(self.view(job).get("counts", {}).get("done", -1))

    def wait_done(self, job: FollowedJob) -> None:
        """Wait until a job has ended, which it must now that nobody harms the farm any more."""
        ended = ("done", "failed", "cancelled")
        wait_until(
            lambda: self.view(job).get("state") in ended, lambda: f"job ends\n{self.story()}"
        )
        view = self.view(job)
        assert view["state"] == "done", f"{view}\n{self.story()}"

    # --- the account ---------------------------------------------------------------------------

    def check(
        self, *, seen: dict[int, bytes] | None = None, may_repeat: Sequence[str] = ()
    ) -> Disk:
        """Stop the farm and see that nothing was lost. Returns the disk for more questions.

        ``seen``: pixels by frame of the same scene in other farms, to which these are added: a
        frame is the same picture wherever and however often it was rendered. ``may_repeat``: nodes
        that were frozen, which may wake up and begin a frame before they hear that it is done.
        """
        for job in self.jobs:
            self.wait_done(job)
            counts = self.view(job)["counts"]
            assert sum(counts.values()) == len(job.frames) == counts["done"], counts
        nodes = [name for name in self.farm.members if name != "coordinator"]
        wait_until(
            lambda: not any(self.outbox(name) for name in nodes if self.is_alive(name)),
            lambda: f"the outboxes are empty\n{self.story()}",
        )
        for job in self.jobs:
            # All of it must have been heard, also by one that was cut off in between.
            wait_until(
                lambda job=job: len(job.history.done) >= len(job.frames),
                lambda job=job: f"the client hears of every frame, only of {job.history.done}",
            )
        self._stack.close()
        for name, member in self.farm.members.items():
            assert not member.alive, f"{name} still runs"
        disk = Disk(self.home / "data" / "coordinator")
        disk.check_store()
        for job in self.jobs:
            assert job.history.broken == [], job.history.broken
            disk.check_job(job.id, job.frames, job.size)
            stored = disk.frames(job.id)
            told = {frame: files for (frame, _), files in job.history.done.items()}
            assert told == {number: frame.told for number, frame in stored.items()}
            self._check_no_waste(job, disk, nodes, may_repeat)
            pixels = disk.pixels(job.id)
            assert len(set(pixels.values())) == len(pixels), "two frames show the same picture"
            if seen is not None:
                for frame, picture in pixels.items():
                    assert seen.setdefault(frame, picture) == picture, f"frame {frame} differs"
        return disk

    def _check_no_waste(
        self, job: FollowedJob, disk: Disk, nodes: Sequence[str], may_repeat: Sequence[str]
    ) -> None:
        """No node rendered a frame that it or the client already knew to be done."""
        known = {(one["node_name"], one["frame"]) for one in disk.attempts(job.id)}
        heard = {frame: at for (frame, _), at in job.history.heard_at.items()}
        for name in nodes:
            accepted: set[int] = set()
            for notice in self.notices(name):
                frame = notice.get("frame")
                if notice.get("job") != job.id or frame is None:
                    continue
                if notice["event"] == "delivered":
                    accepted.add(frame)
                if notice["event"] != "rendering":
                    continue
                assert frame not in accepted, f"{name} rendered frame {frame} after its acceptance"
                is_late = notice["time"] > heard[frame] + LATE_SECONDS
                if is_late and name not in may_repeat:
                    assert (name, frame) in known, f"{name} rendered frame {frame} without need"

    def notices(self, node: str) -> Iterator[dict[str, Any]]:
        """What a node has printed, over all its lives."""
        for line in (self.folder / f"{node}.log").read_text("utf-8", "replace").splitlines():
            with contextlib.suppress(ValueError):
                plain = json.loads(line)
                if isinstance(plain, dict) and "event" in plain:
                    yield plain

    def outbox(self, node: str) -> list[Path]:
        """Finished frames that a node has not got rid of."""
        return [
            entry
            for entry in (self.folder / node / "outbox").glob("*/*")
            if not entry.name.startswith(".")
        ]

    def is_alive(self, name: str) -> bool:
        """Whether a member runs."""
        return bool(self.farm.members[name].alive)

    def story(self) -> str:
        """The ends of all logs, for a failed test."""
        return "\n".join(
            f"--- {name}\n{member.log_tail(40)}" for name, member in self.farm.members.items()
        )
