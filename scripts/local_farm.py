"""A whole farm on this machine: coordinator and nodes as processes of their own, on loopback.

The demo, the benchmarks and the tests that need real processes all start it here. Everything lies
in one folder: ``home`` (configuration and data of the user), ``NAME`` (data of node NAME),
``NAME.log``. Standard library only: it runs in any Python, and starts members in ``python``.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

READY_TIMEOUT_SECONDS = 180.0
"""A node probes its Blender in throw-away processes first; on a busy machine that takes a while."""

STOP_TIMEOUT_SECONDS = 90.0
POLL_SECONDS = 0.05


class FarmFailed(RuntimeError):
    """A member ended or did not get ready; the message carries the end of its log."""


@dataclass
class Member:
    """One process of the farm."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self.process.poll() is None

    def log_tail(self, lines: int = 30) -> str:
        """Return the end of what it printed."""
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-lines:])

    def kill(self) -> None:
        """Kill -9 this process alone, as a crash would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Ask it to end, and insist on the whole process group after a while."""
        if self.alive:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def environment_of(home: Path) -> dict[str, str]:
    """Return the environment of a user of Rendermill whose home is ``home``, on loopback."""
    clean = {key: value for key, value in os.environ.items() if "RENDERMILL" not in key}
    return clean | {
        "RENDERMILL_HOME": str(home),
        "RENDERMILL_INTERFACE": "127.0.0.1",
        "PYTHONUNBUFFERED": "1",
    }


@dataclass
class LocalFarm:
    """Use as a context manager; every process it started is gone afterwards."""

    folder: Path
    python: str = sys.executable
    members: dict[str, Member] = field(default_factory=dict)
    port: int = 0
    launchers: dict[str, list[str]] = field(default_factory=dict)
    """Commands that start a member's own in another place, by member: ``ip netns exec NAME``."""
    answers: Path | None = None
    """What the Blenders of this machine answered in another home (``cache/blenders.json``): nodes
    begin with a copy and need not ask. Nothing where there is no such file."""

    @property
    def environment(self) -> dict[str, str]:
        """Environment of every member, and of commands that shall reach this farm."""
        return environment_of(self.folder / "home")

    def __enter__(self) -> LocalFarm:
        """Make the folder; nothing is started yet."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.answers is not None and self.answers.exists():
            cache = self.folder / "home" / "cache"
            cache.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.answers, cache / "blenders.json")
        return self

    def __exit__(self, *_: object) -> None:
        """Stop nodes first, so that they hand their leases back, then the coordinator."""
        for name in sorted(self.members, key=lambda name: name == "coordinator"):
            self.members[name].stop()

    # --- members -----------------------------------------------------------------------------

    def start_coordinator(self, *words: str, cores: set[int] | None = None) -> Member:
        """Start (again) the coordinator on the same data and port; wait until it answers.

        ``cores`` keeps it on some processors (Linux).
        """
        command = ["coordinator", "--host", "127.0.0.1", "--port", str(self.port), *words]
        self._local_file.unlink(missing_ok=True)
        member = self._start("coordinator", command, cores)
        self._wait(member, lambda: self._local_file.exists() and self._healthy())
        self.port = int(self.url.rsplit(":", 1)[1])
        return member

    def start_node(self, name: str, *words: str, cores: set[int] | None = None) -> Member:
        """Start a node; ``cores`` keeps it and its Blender on some processors (Linux)."""
        data = str(self.folder / name)
        return self._start(name, ["node", "--name", name, "--data", data, *words], cores)

    def wait_ready(self, names: Sequence[str]) -> None:
        """Wait until these nodes are connected and idle or at work."""
        for name in names:
            member = self.members[name]
            self._wait(member, lambda name=name: self.node(name).get("state") in _READY)

    def _start(self, name: str, words: list[str], cores: set[int] | None) -> Member:
        log = self.folder / f"{name}.log"
        pin: Callable[[], None] | None = None
        if cores is not None:
            chosen = cores
            pin = lambda: os.sched_setaffinity(0, chosen)  # noqa: E731
        with log.open("ab") as out:
            process = subprocess.Popen(
                [*self.launchers.get(name, []), self.python, "-m", "rendermill", *words],
                env=self.environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=pin,  # noqa: PLW1509 no threads here that could hold a lock
            )
        member = Member(name, process, log)
        self.members[name] = member
        return member

    def _wait(self, member: Member, ready: Callable[[], bool]) -> None:
        end = time.monotonic() + READY_TIMEOUT_SECONDS
        while not ready():
            if not member.alive:
                raise FarmFailed(
                    f"{member.name} ended with {member.process.returncode}:\n{member.log_tail()}"
                )
            if time.monotonic() > end:
                raise FarmFailed(
                    f"{member.name} was not ready after {READY_TIMEOUT_SECONDS:.0f} s:\n"
                    f"{member.log_tail()}"
                )
            time.sleep(POLL_SECONDS)

    # --- asking ------------------------------------------------------------------------------

    @property
    def _local_file(self) -> Path:
        return self.folder / "home" / "config" / "local.json"

    @property
    def url(self) -> str:
        """Address of the coordinator."""
        return str(json.loads(self._local_file.read_text())["url"])

    @property
    def token(self) -> str:
        """Token of this user for the coordinator."""
        return str(json.loads(self._local_file.read_text())["token"])

    def _healthy(self) -> bool:
        try:
            self.ask("GET", "/health")
        except (OSError, ValueError, KeyError):
            return False
        return True

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Call the REST interface and return its JSON. Raises `urllib.error.HTTPError`."""
        return json.loads(self._call(method, path, body) or b"null")

    def fetch(self, path: str) -> bytes:
        """Return the bytes that the REST interface gives. Raises `urllib.error.HTTPError`."""
        return self._call("GET", path, None)

    def _call(self, method: str, path: str, body: Any) -> bytes:
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self.token}",
                "Content-Type": "application/json",
            },
        )
        # Our own child on our own loopback: its certificate has nothing to prove.
        trusting = ssl.create_default_context()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusting)
        )
        try:
            with opener.open(request, timeout=30) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            # It holds the connection, and whoever catches it wants to know only what it says.
            error.close()
            raise

    def node(self, name: str) -> dict[str, Any]:
        """Return the view of the node of that name; {} when it has not joined."""
        try:
            nodes = self.ask("GET", "/api/v1/nodes")["nodes"]
        except (OSError, ValueError):
            return {}
        return next((node for node in nodes if node["name"] == name), {})

    def job(self, job: str) -> dict[str, Any]:
        """Return the view of a job."""
        view: dict[str, Any] = self.ask("GET", f"/api/v1/jobs/{job}")["job"]
        return view

    def command(
        self, *words: str, timeout_seconds: float = 600
    ) -> subprocess.CompletedProcess[str]:
        """Run ``rendermill WORDS`` as this user and return what it printed and its exit code."""
        return subprocess.run(
            [self.python, "-m", "rendermill", *words],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )


_READY = ("idle", "rendering")


@contextlib.contextmanager
def local_farm(
    folder: Path, nodes: int = 1, python: str = sys.executable, answers: Path | None = None
) -> Iterator[LocalFarm]:
    """A farm of a coordinator and ``nodes`` nodes (``node1``, ...), ready to render."""
    with LocalFarm(folder, python, answers=answers) as farm:
        farm.start_coordinator()
        names = [f"node{index + 1}" for index in range(nodes)]
        for name in names:
            farm.start_node(name)
        farm.wait_ready(names)
        yield farm
