"""One Blender process and everything it starts: run, watched for signs of life, killed for sure."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from ...protocol.messages import LOG_LINES_MAX
from .. import hardware
from . import sandbox
from .attempt import OnLog
from .channel import REPLY_MAX_BYTES, LineSplitter

TERM_SECONDS = 2.0
"""Between asking a process tree to end and killing it."""

KILL_SECONDS = 30.0
"""A killed process that is still there after so long cannot be killed: stuck in a driver. To give
back a hundred gigabytes on a busy machine takes seconds."""

LOWEST_PRIORITY = 19
"""Of POSIX."""

POLL_SECONDS = 0.01
"""Between two looks whether killed processes are gone."""

CPU_NOISE_SECONDS = 0.02
CPU_NOISE_SHARE = 0.005
"""CPU time that our own signs of life cost: a fixed part and a share of the time that passed."""

MARK_VARIABLE = "PROCESS_TREE_MARK"
"""Environment variable by which what a Blender started is known although it left the tree."""

READ_BYTES = 64 * 1024

_STATISTICS = re.compile(r"Fra:-?\d+ Mem:")
"""Progress that Blender before 5.0 prints dozens of times a frame; `render_stats` has it too."""


class Unkillable(OSError):
    """Processes that survived SIGKILL; the machine should take no more work."""


class _Protocol(asyncio.subprocess.SubprocessStreamProtocol):
    """Knows of the exit at once: asyncio's own ``wait`` also waits until every pipe is closed.

    A process that Blender started and left behind keeps them open for as long as it likes.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(limit=READ_BYTES, loop=loop)
        self.exited = asyncio.Event()

    def process_exited(self) -> None:
        super().process_exited()
        self.exited.set()


class BlenderProcess:
    """A process tree with a pipe for orders, one for replies and one for the log."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        transport: asyncio.SubprocessTransport,
        exited: asyncio.Event,
        mark: str,
    ) -> None:
        """Wrap a process started by `start`; ``mark`` is its own value of `MARK_VARIABLE`."""
        self._process = process
        self._transport = transport
        self._exited = exited
        self._mark = mark
        self._seen: dict[int, psutil.Process] = {}
        """Every process ever found in the tree: some leave the group, none is forgotten."""
        self._cpu = 0.0
        self._cpu_since = time.monotonic()
        self._oom_kills = oom_kills()
        self.last_life = time.monotonic()
        """When it last wrote anything or used the processor, by the monotonic clock."""
        self.memory_bytes = 0
        """Resident memory of the tree when it was last looked at."""
        self.peak_bytes = 0
        """The most that was found in any look."""
        self.log: deque[str] = deque(maxlen=LOG_LINES_MAX)
        self.log_count = 0
        """Lines logged so far, those that `log` has dropped included."""
        with contextlib.suppress(psutil.Error):
            self._seen[process.pid] = psutil.Process(process.pid)

    @classmethod
    async def start(
        cls,
        command: list[str],
        *,
        scratch: Path,
        program: Path,
        readable: tuple[Path, ...] = (),
        level: str = sandbox.NONE,
        low_priority: bool = False,
        variables: Mapping[str, str] | None = None,
    ) -> BlenderProcess:
        """Start ``command`` in a group of its own with an environment of its own.

        ``variables`` are added to that. With ``low_priority`` it gets the processor only where no
        other program wants it.

        Raises OSError when it cannot be started.
        """
        mark = secrets.token_hex(8)
        environment = sandbox.environment(scratch) | {MARK_VARIABLE: mark, **(variables or {})}
        confined = sandbox.confine(
            level, command, program=program, readable=readable, writable=scratch
        )
        group: dict[str, object] = {"start_new_session": True}
        if sys.platform == "win32":
            priority = subprocess.IDLE_PRIORITY_CLASS if low_priority else 0
            group = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | priority}
        elif low_priority:
            # Before the first thread exists: on Linux each has a priority of its own.
            confined = ["nice", "-n", str(LOWEST_PRIORITY), *confined]
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.subprocess_exec(
            lambda: _Protocol(loop),
            *confined,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=scratch,
            env=environment,
            **group,  # pyright: ignore[reportArgumentType]
        )
        process = asyncio.subprocess.Process(transport, protocol, loop)
        with contextlib.suppress(ProcessLookupError):
            sandbox.limit(level, process.pid)
        return cls(process, transport, protocol.exited, mark)

    @property
    def pid(self) -> int:
        """Of the process that was started; inside bubblewrap, of bubblewrap."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Exit code, negative for a signal; None while it runs."""
        return self._process.returncode

    async def send(self, line: bytes) -> None:
        """Write an order. Raises OSError when nobody reads."""
        if self._process.stdin is None:
            raise BrokenPipeError("The process has no standard input.")
        self._process.stdin.write(line)
        await self._process.stdin.drain()

    def show_life(self) -> None:
        """Note that it said something just now."""
        self.last_life = time.monotonic()

    async def read_replies(self, take: Callable[[str], None]) -> None:
        """Hand every line of standard output to ``take`` until it ends."""
        await self._read(
            self._process.stdout,
            LineSplitter(REPLY_MAX_BYTES),
            lambda lines: [take(line) for line in lines],
        )

    async def read_log(self, on_log: OnLog) -> None:
        """Collect the log in `log` and hand it on until it ends."""

        def collect(lines: list[str]) -> None:
            self.show_life()
            self.add_log(lines, on_log)

        await self._read(self._process.stderr, LineSplitter(), collect)

    def add_log(self, lines: list[str], on_log: OnLog) -> None:
        """Keep lines that are not empty and hand them on."""
        said = [line for line in lines if line.strip() and not _STATISTICS.match(line)]
        if said:
            self.log.extend(said)
            self.log_count += len(said)
            on_log(said)

    async def _read(
        self,
        stream: asyncio.StreamReader | None,
        splitter: LineSplitter,
        take: Callable[[list[str]], object],
    ) -> None:
        if stream is None:
            return
        while data := await stream.read(READ_BYTES):
            take(splitter.feed(data))
        take(splitter.end())

    async def wait(self) -> int:
        """Wait for the end and return the exit code."""
        await self._exited.wait()
        return self._process.returncode or 0

    async def look(self) -> None:
        """Measure memory and CPU use of the tree; counts as life where the processor was used."""
        memory, cpu = await asyncio.to_thread(self._measure)
        self.memory_bytes = memory
        self.peak_bytes = max(self.peak_bytes, memory)
        now = time.monotonic()
        noise = CPU_NOISE_SECONDS + CPU_NOISE_SHARE * (now - self._cpu_since)
        if cpu - self._cpu > noise or cpu < self._cpu:
            self._cpu, self._cpu_since = cpu, now
            self.last_life = now

    def memory_now(self) -> int:
        """Measure the memory of the processes known so far; a fraction of a millisecond."""
        memory = 0
        for process in self._seen.values():
            with contextlib.suppress(psutil.Error):
                memory += process.memory_info().rss
        return memory

    def _measure(self) -> tuple[int, float]:
        memory, cpu = 0, 0.0
        for process in self._tree():
            with contextlib.suppress(psutil.Error):
                memory += process.memory_info().rss
                times = process.cpu_times()
                cpu += times.user + times.system
        return memory, cpu

    def _tree(self) -> list[psutil.Process]:
        for known in list(self._seen.values()):
            with contextlib.suppress(psutil.Error):
                for child in known.children(recursive=True):
                    self._seen.setdefault(child.pid, child)
        self._seen = {pid: seen for pid, seen in self._seen.items() if seen.is_running()}
        return list(self._seen.values())

    def _whole_tree(self) -> list[psutil.Process]:
        """The tree, and what left it: started by a process that has ended before it was seen."""
        tree = self._tree()
        known = {process.pid for process in tree}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.pid in known or process.pid == os.getpid():
                    continue
                if process.environ().get(MARK_VARIABLE) == self._mark:
                    tree.append(process)
        return tree

    async def end(self) -> None:
        """Ask the tree to end, then kill it. Raises `Unkillable`."""
        tree = await asyncio.to_thread(self._tree)
        for process in tree:
            with contextlib.suppress(psutil.Error):
                process.terminate()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._exited.wait(), TERM_SECONDS)
        await self.kill()

    async def kill(self) -> None:
        """Kill the whole tree and see that it is gone. Raises `Unkillable`."""
        tree = await asyncio.to_thread(self._whole_tree)
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        for process in tree:
            with contextlib.suppress(psutil.Error):
                process.kill()
        alive = await asyncio.to_thread(_wait_gone, tree)
        if alive:
            pids = ", ".join(str(process.pid) for process in alive)
            raise Unkillable(f"Processes of Blender cannot be killed: {pids}.")
        await self._exited.wait()
        self._transport.close()

    def was_killed_for_memory(self) -> bool:
        """Whether the kernel has killed for memory since this process was started (Linux)."""
        return oom_kills() > self._oom_kills


def _wait_gone(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Wait until all have ended, `KILL_SECONDS` at most; return those that have not.

    One that has ended counts as gone although nobody has collected its exit code: in a container
    the first process may never do so.
    """
    deadline = time.monotonic() + KILL_SECONDS
    while True:
        # Before the look: on a machine that stands still in between, time alone proves nothing.
        is_over = time.monotonic() > deadline
        processes = [process for process in processes if not _is_dead(process)]
        if not processes or is_over:
            return processes
        time.sleep(POLL_SECONDS)


def _is_dead(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def oom_kills() -> int:
    """How many processes the kernel has killed for want of memory so far; Linux only.

    Of this process's own control group, where that counts them: on a machine of many containers the
    kills of the others say nothing of this one. Else of the machine, since it started.
    """
    own = hardware.group_oom_kills()
    if own is not None:
        return own
    with contextlib.suppress(OSError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def describe_exit(returncode: int) -> tuple[int, str]:
    """Return the signal number (0: none) and a clause that says how a process ended."""
    number = -returncode if returncode < 0 else returncode - 128 if 128 < returncode < 160 else 0
    if number:
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        return number, f"was ended by {name}"
    return 0, f"ended by itself with exit code {returncode}"
