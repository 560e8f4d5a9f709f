"""Slots of one machine: what can be asked for, what each sees, and that each is kept alive."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from rendermill.node.blender import sandbox
from rendermill.node.notices import Notice
from rendermill.node.slots import Slot, SlotsError, Supervisor, parse_slots

PATIENCE_SECONDS = 120.0

CHILD = """
import json, os, signal, sys, time
def told(*_):
    with open(sys.argv[1] + ".told", "a") as file:
        file.write("told\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, told)
with open(sys.argv[1], "a") as file:
    file.write(json.dumps({"pid": os.getpid(), "cuda": os.environ["CUDA_VISIBLE_DEVICES"]}) + "\\n")
if len(sys.argv) > 2:
    sys.exit(int(sys.argv[2]))
while True:
    time.sleep(0.1)
"""


def names(slots: tuple[Slot, ...]) -> list[str]:
    return [slot.name for slot in slots]


def test_the_processors_beside_gpus_leave_each_gpu_one() -> None:
    slots = parse_slots("cpu, gpu:0,GPU:1", 16)
    assert names(slots) == ["cpu", "gpu0", "gpu1"]
    assert [slot.threads for slot in slots] == [14, 1, 1]
    assert [slot.is_gpu for slot in slots] == [False, True, True]
    assert sum(slot.memory_share for slot in slots) == pytest.approx(1)


def test_gpus_alone_share_all_processors() -> None:
    assert [slot.threads for slot in parse_slots("gpu:0,gpu:1,gpu:2", 16)] == [5, 5, 5]
    assert parse_slots("gpu:0", 8)[0].threads == 8


def test_a_gpu_alone_renders_for_processors_too() -> None:
    assert not parse_slots("gpu:0", 8)[0].is_gpu


def test_a_small_machine_has_a_processor_for_each() -> None:
    assert [slot.threads for slot in parse_slots("cpu,gpu:0,gpu:1", 2)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("word", "cuda", "hip", "oneapi"),
    [
        ("cpu", "-1", "-1", "*:cpu"),
        ("gpu:1", "1", "1", "level_zero:1"),
        ("cuda:2", "2", "-1", "*:cpu"),
        ("hip:0", "-1", "0", "*:cpu"),
        ("oneapi:3", "-1", "-1", "level_zero:3"),
    ],
)
def test_each_sees_its_own_gpu_only(word: str, cuda: str, hip: str, oneapi: str) -> None:
    variables = parse_slots(word, 8)[0].variables
    assert variables["CUDA_VISIBLE_DEVICES"] == cuda
    assert variables["HIP_VISIBLE_DEVICES"] == hip
    assert variables["ONEAPI_DEVICE_SELECTOR"] == oneapi
    assert variables["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


def test_a_blender_is_given_what_its_slot_sees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in parse_slots("gpu:1", 8)[0].variables.items():
        monkeypatch.setenv(name, value)
    given = sandbox.environment(tmp_path)
    assert given["CUDA_VISIBLE_DEVICES"] == "1"
    assert given["HIP_VISIBLE_DEVICES"] == "1"
    assert given["ONEAPI_DEVICE_SELECTOR"] == "level_zero:1"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "at least one slot"),
        ("gpu", "'gpu' is no slot"),
        ("gpu:x", "is no slot"),
        ("tpu:0", "is no slot"),
        ("cpu,cpu", "named twice"),
        ("gpu:0,cuda:0", "the same GPU"),
        (",".join(f"gpu:{number}" for number in range(33)), "at most 32"),
    ],
)
def test_what_are_no_slots_gets_one_sentence(text: str, complaint: str) -> None:
    with pytest.raises(SlotsError, match=complaint):
        parse_slots(text, 8)


class Slots:
    """A supervisor of small processes that write down that they live."""

    def __init__(self, folder: Path, *words: str, steady_seconds: float = 60.0) -> None:
        self.folder = folder
        self.notices: list[Notice] = []
        self.supervisor = Supervisor(
            parse_slots("cpu,gpu:1", 4),
            lambda slot: [sys.executable, "-c", CHILD, str(folder / slot.name), *words],
            self.notices.append,
            restart_first_seconds=0.01,
            steady_seconds=steady_seconds,
        )
        self.task = asyncio.create_task(self.supervisor.run())

    def lives(self, slot: str) -> list[dict[str, object]]:
        try:
            lines = (self.folder / slot).read_text().splitlines()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines]

    async def has_lived(self, slot: str, times: int) -> dict[str, object]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self.lives(slot)) < times:  # noqa: ASYNC110 - other processes
                await asyncio.sleep(0.02)
        return self.lives(slot)[times - 1]


@pytest.fixture
async def slots(tmp_path: Path) -> AsyncIterator[Slots]:
    made = Slots(tmp_path)
    yield made
    made.supervisor.stop()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await asyncio.gather(made.task, return_exceptions=True)


async def test_each_slot_is_a_process_with_its_own_gpu(slots: Slots) -> None:
    cpu, gpu = await slots.has_lived("cpu", 1), await slots.has_lived("gpu1", 1)
    assert (cpu["cuda"], gpu["cuda"]) == ("-1", "1")
    assert cpu["pid"] != gpu["pid"]


async def test_one_that_dies_is_started_again_and_the_other_does_not_notice(slots: Slots) -> None:
    gpu = await slots.has_lived("gpu1", 1)
    cpu = await slots.has_lived("cpu", 1)
    os.kill(int(str(gpu["pid"])), 9)
    again = await slots.has_lived("gpu1", 2)
    assert again["pid"] != gpu["pid"]
    assert [life["pid"] for life in slots.lives("cpu")] == [cpu["pid"]]
    assert "The slot gpu1 ended by signal 9" in slots.notices[0].text


async def test_a_stop_reaches_all(slots: Slots) -> None:
    await slots.has_lived("gpu1", 1)
    await slots.has_lived("cpu", 1)
    slots.supervisor.stop()
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await slots.task == 0
    for name in ("cpu", "gpu1"):
        assert (slots.folder / f"{name}.told").read_text() == "told\n"
        assert len(slots.lives(name)) == 1


async def test_a_slot_that_is_not_allowed_ends_all(tmp_path: Path) -> None:
    slots = Slots(tmp_path, "4")
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await slots.task == 4


async def test_the_pause_doubles_while_a_slot_cannot_live(tmp_path: Path) -> None:
    slots = Slots(tmp_path, "1")
    await slots.has_lived("cpu", 4)
    slots.supervisor.stop()
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await slots.task == 0
    told = [notice.facts for notice in slots.notices if notice.facts["slot"] == "cpu"]
    assert [facts["seconds"] for facts in told[:3]] == [0.01, 0.02, 0.04]


async def test_nothing_is_left_behind_when_it_is_cancelled(slots: Slots) -> None:
    pids = [int(str((await slots.has_lived(name, 1))["pid"])) for name in ("cpu", "gpu1")]
    slots.task.cancel()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await asyncio.gather(slots.task, return_exceptions=True)
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.skipif(sys.platform == "win32", reason="children are counted as POSIX does")
@pytest.mark.parametrize("turns", range(12))
async def test_nothing_is_left_behind_when_it_is_cancelled_while_slots_start(
    tmp_path: Path, turns: int
) -> None:
    """At whichever step of starting a process: it is ended, and its exit code collected."""
    before = set(psutil.Process().children())
    slots = Slots(tmp_path)
    for _ in range(turns):
        await asyncio.sleep(0)
    slots.task.cancel()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await asyncio.gather(slots.task, return_exceptions=True)
    assert set(psutil.Process().children()) <= before
