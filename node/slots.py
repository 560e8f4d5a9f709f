"""Several renderers on one machine: one node for each GPU, or for the processors beside a GPU.

`parse_slots` reads what was asked for; `Supervisor` keeps one process for each slot alive. They
share one cache of scenes; each has a name, a data folder, its part of processors and memory, and
sees only its own GPU through the variables of the drivers:

- NVIDIA (CUDA, OptiX): ``CUDA_VISIBLE_DEVICES``, with ``CUDA_DEVICE_ORDER=PCI_BUS_ID`` so that
  numbers are those of ``nvidia-smi`` (CUDA C++ Programming Guide, environment variables);
- AMD: ``HIP_VISIBLE_DEVICES`` (HIP documentation, GPU isolation);
- Intel: ``ONEAPI_DEVICE_SELECTOR`` (DPC++ environment variables).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .notices import Notice, NoticeKind, Notify

SLOTS_MAX = 32
GPU_THREADS = 1
"""Processors that a GPU needs beside a slot for the processors: to feed it."""
RESTART_FIRST_SECONDS = 1.0
RESTART_MAX_SECONDS = 60.0
STEADY_SECONDS = 60.0
"""A slot that has lived for so long begins again with the shortest pause."""
USAGE_CODES = (2, 4)
"""Exit codes of a node that will not get better by trying: wrong usage, not allowed."""

_CPU, _GPU, _CUDA, _HIP, _ONEAPI = "cpu", "gpu", "cuda", "hip", "oneapi"
_SLOT = re.compile(r"cpu|(gpu|cuda|hip|oneapi):(\d{1,2})")
_HIDDEN = {
    "CUDA_VISIBLE_DEVICES": "-1",
    "HIP_VISIBLE_DEVICES": "-1",
    "ONEAPI_DEVICE_SELECTOR": "*:cpu",
}
"""With these no GPU is to be seen."""


class SlotsError(ValueError):
    """Slots that cannot be; one sentence."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One renderer of a machine."""

    name: str
    """``cpu``, ``gpu0``, ``hip1``: part of the node's name."""
    variables: dict[str, str]
    """Of the environment, for its Blender."""
    threads: int
    """Processors that are its own."""
    memory_share: float
    """Part of the machine's memory that is its own."""
    is_gpu: bool


def parse_slots(text: str, cores: int) -> tuple[Slot, ...]:
    """Return the slots that ``text`` ("cpu,gpu:0,gpu:1") names, on a machine with ``cores``.

    ``gpu:N`` is the N-th GPU of each maker; ``cuda:N``, ``hip:N``, ``oneapi:N`` of one. Beside a
    slot ``cpu`` each GPU has `GPU_THREADS` processors and ``cpu`` the rest; without one the GPUs
    share all of them. Raises `SlotsError`.
    """
    words = [word.strip().lower() for word in text.split(",") if word.strip()]
    if not words:
        raise SlotsError('Name at least one slot, such as "cpu,gpu:0".')
    if len(words) > SLOTS_MAX:
        raise SlotsError(f"A machine has at most {SLOTS_MAX} slots, not {len(words)}.")
    seen: set[str] = set()
    for word in words:
        if not _SLOT.fullmatch(word):
            raise SlotsError(
                f"{word!r} is no slot; a slot is cpu, gpu:N, cuda:N, hip:N or oneapi:N, with N "
                "from 0."
            )
        if word in seen:
            raise SlotsError(f"The slot {word!r} is named twice.")
        seen.add(word)
    _refuse_sharing(words)
    gpus = sum(word != _CPU for word in words)
    if len(words) > gpus:
        of_gpu, of_cpu = GPU_THREADS, max(1, cores - gpus * GPU_THREADS)
    else:
        of_gpu, of_cpu = max(1, cores // gpus), 0
    return tuple(
        Slot(
            name=word.replace(":", ""),
            variables=_variables(word),
            threads=of_cpu if word == _CPU else of_gpu,
            memory_share=1 / len(words),
            # Alone on its machine, a GPU's node is as good for the processors as any other.
            is_gpu=word != _CPU and len(words) > 1,
        )
        for word in words
    )


def _refuse_sharing(words: Sequence[str]) -> None:
    for word in words:
        kind, _, number = word.partition(":")
        others = [f"{other}:{number}" for other in (_CUDA, _HIP, _ONEAPI)]
        if kind == _GPU and (both := [other for other in others if other in words]):
            raise SlotsError(f"{word} and {both[0]} are the same GPU; name it once.")


def _variables(word: str) -> dict[str, str]:
    kind, _, number = word.partition(":")
    variables = dict(_HIDDEN)
    if kind in (_GPU, _CUDA):
        variables["CUDA_VISIBLE_DEVICES"] = number
    if kind in (_GPU, _HIP):
        variables["HIP_VISIBLE_DEVICES"] = number
    if kind in (_GPU, _ONEAPI):
        variables["ONEAPI_DEVICE_SELECTOR"] = f"level_zero:{number}"
    return variables | {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


class Supervisor:
    """Keeps one process for each slot alive until it is told to stop."""

    def __init__(
        self,
        slots: Sequence[Slot],
        command: Callable[[Slot], list[str]],
        notify: Notify,
        *,
        restart_first_seconds: float = RESTART_FIRST_SECONDS,
        steady_seconds: float = STEADY_SECONDS,
    ) -> None:
        """``command``: the command line of a slot's process."""
        self._slots = slots
        self._command = command
        self._notify = notify
        self._restart_first_seconds = restart_first_seconds
        self._steady_seconds = steady_seconds
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._stopping = asyncio.Event()
        self._code = 0

    def stop(self) -> None:
        """Tell every slot to stop; called again, to give its frame back at once."""
        self._stopping.set()
        for process in self._processes.values():
            self._tell(process)

    @staticmethod
    def _tell(process: asyncio.subprocess.Process) -> None:
        if process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            if sys.platform == "win32":
                process.send_signal(signal.CTRL_BREAK_EVENT)
            else:
                process.send_signal(signal.SIGTERM)

    async def run(self) -> int:
        """Start all and start again what ends; returns an exit code once all have ended.

        That is 0 after `stop`. A slot that ends with one of `USAGE_CODES` ends all, with its code.
        """
        keeping = [asyncio.create_task(self._keep(slot), name=slot.name) for slot in self._slots]
        try:
            done, _ = await asyncio.wait(keeping, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            # Cancelled, or one failed: none of them may stay behind. Not with `gather`, which would
            # have cancelled each already: a second time cuts short the wait for the end of a
            # process that was just being started.
            for task in keeping:
                task.cancel()
            await asyncio.gather(*keeping, return_exceptions=True)
            for process in list(self._processes.values()):
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        return self._code

    async def _keep(self, slot: Slot) -> None:
        loop = asyncio.get_running_loop()
        pause = self._restart_first_seconds
        while not self._stopping.is_set():
            begun = loop.time()
            code = await self._live(slot)
            if self._stopping.is_set():
                return
            if code in USAGE_CODES:
                self._code = code
                self.stop()
                return
            if loop.time() - begun > self._steady_seconds:
                pause = self._restart_first_seconds
            how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
            self._notify(
                Notice(
                    NoticeKind.PROBLEM,
                    f"The slot {slot.name} ended {how}; it starts again in {pause:.0f} s.",
                    {"slot": slot.name, "code": code, "seconds": pause},
                )
            )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stopping.wait()
            pause = min(RESTART_MAX_SECONDS, 2 * pause)

    async def _live(self, slot: Slot) -> int:
        # In a group of its own: Ctrl-C reaches all of a terminal's group, and a slot would hear of
        # it twice.
        group: dict[str, object] = {"start_new_session": True}
        if sys.platform == "win32":
            group = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
        process = await asyncio.create_subprocess_exec(
            *self._command(slot),
            stdin=asyncio.subprocess.DEVNULL,
            env=dict(os.environ) | slot.variables,
            **group,  # pyright: ignore[reportArgumentType]
        )
        self._processes[slot.name] = process
        if self._stopping.is_set():
            self._tell(process)
        try:
            return await process.wait()
        finally:
            if process.returncode is not None:
                del self._processes[slot.name]
