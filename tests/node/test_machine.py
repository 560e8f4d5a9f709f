"""Who the node is and what it runs on."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest
from rendermill.node import hardware
from rendermill.node.daemon import NodeOptions
from rendermill.node.fitting import NoBlender, fitting_blender
from rendermill.node.identity import DataFolder, NodeError
from rendermill.node.locks import FileLock
from rendermill.protocol.job import Capability, Device, Requirements
from rendermill.protocol.machine import BlenderInfo, Gpu


def test_the_id_lasts_and_the_incarnation_does_not(tmp_path: Path) -> None:
    first = DataFolder(tmp_path)
    first.close()
    second = DataFolder(tmp_path)
    second.close()
    assert first.identity.node == second.identity.node
    assert first.identity.incarnation != second.identity.incarnation


def test_one_node_for_one_folder(tmp_path: Path) -> None:
    first = DataFolder(tmp_path)
    with pytest.raises(NodeError, match="--name"):
        DataFolder(tmp_path)
    first.close()
    DataFolder(tmp_path).close()


def test_a_damaged_id_is_told_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "node.json").write_text('{"node": "x"}')
    with pytest.raises(NodeError, match="no node id"):
        DataFolder(tmp_path)
    (tmp_path / "node.json").write_text("{")
    with pytest.raises(NodeError, match="cannot be read"):
        DataFolder(tmp_path)


def test_every_name_is_a_folder_of_its_own() -> None:
    names = ["", "one", "One", "one ", "ONE!", "../one", "ä", "ö"]
    folders = [NodeOptions(name=name).data_folder for name in names]
    assert len(set(folders)) == len(names)
    assert len({folder.parent for folder in folders}) == 1


def test_a_lock_is_held_once(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "a.lock"), FileLock(tmp_path / "a.lock")
    with first:
        assert not second.acquire(wait=False)
    assert second.acquire(wait=False)
    second.release()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux only")
def test_only_processors_this_process_may_use_count() -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert hardware.cores() == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(
    ("files", "own", "cores", "memory"),
    [
        (
            {
                "cgroup.controllers": "cpu memory",
                "box/cpu.max": "50000 100000",
                "box/memory.max": "1000000",
                "box/memory.current": "700000",
                "box/memory.stat": "anon 1\ninactive_file 200000",
            },
            "0::/box",
            1,
            (1_000_000, 500_000),
        ),
        (
            {
                "memory/memory.limit_in_bytes": "2000000",
                "memory/memory.usage_in_bytes": "500000",
                "memory/memory.stat": "total_inactive_file 0",
                "cpu/cpu.cfs_quota_us": "100000",
                "cpu/cpu.cfs_period_us": "100000",
            },
            # The path is that of the host and does not exist in here.
            "4:memory:/docker/abc\n1:cpu:/docker/abc",
            1,
            (2_000_000, 1_500_000),
        ),
    ],
    ids=["version 2", "version 1"],
)
def test_limits_of_control_groups_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files, own, cores, memory
) -> None:
    for name, text in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "own").write_text(own)
    monkeypatch.setattr(hardware, "_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(hardware, "_OWN_CGROUPS", tmp_path / "own")
    assert hardware.cores() == cores
    assert hardware.memory_bytes() == memory[0]
    assert hardware.load(tmp_path).memory_free_bytes == memory[1]


def test_the_machine_is_described(tmp_path: Path) -> None:
    machine = hardware.describe((), ("b", "a", "b"), "none")
    assert machine.tags == ("a", "b")
    assert machine.cpu
    assert 1 <= machine.cores <= (os.cpu_count() or 1)
    assert 0 < machine.memory_bytes <= psutil.virtual_memory().total
    load = hardware.load(tmp_path)
    assert 0 <= load.processors <= 1
    assert load.disk_free_bytes > 0


def blender(*version: int, **fields: object) -> BlenderInfo:
    return BlenderInfo(
        version=version, path=str(version), is_module=False, engines=("CYCLES",), **fields
    )


HERE = (
    blender(4, 2, 3),
    blender(4, 5, 1),
    blender(4, 5, 9),
    blender(4, 5, 4, capabilities=(Capability.OSL,)),
)


@pytest.mark.parametrize(
    ("wanted", "more", "found"),
    [
        ((4, 5, 1), {}, (4, 5, 1)),
        ((4, 5, 2), {}, (4, 5, 9)),
        ((4, 2, 0), {}, (4, 2, 3)),
        ((4, 5, 9), {"capabilities": (Capability.OSL,)}, (4, 5, 4)),
    ],
)
def test_the_exact_patch_is_preferred_and_any_other_will_do(wanted, more, found) -> None:
    requires = Requirements(blender=wanted, engine="CYCLES", **more)
    assert fitting_blender(HERE, requires).version == found


@pytest.mark.parametrize(
    ("requires", "sentence"),
    [
        (Requirements(blender=(5, 0, 0), engine="CYCLES"), "needs Blender 5.0"),
        (
            Requirements(blender=(4, 2, 0), engine="CYCLES", device=Device.GPU),
            "Blender 4.2.3 on this node lacks a GPU that Cycles can use.",
        ),
        (
            Requirements(blender=(4, 2, 0), engine="X", capabilities=(Capability.USD,)),
            "lacks the engine X, usd.",
        ),
    ],
)
def test_what_is_lacking_is_said(requires: Requirements, sentence: str) -> None:
    with pytest.raises(NoBlender, match=sentence):
        fitting_blender(HERE, requires)


def test_a_gpu_fits_a_job_that_asks_for_one() -> None:
    gpu = blender(4, 2, 3, gpus=(Gpu(backend="CUDA", name="x", id="y"),))
    requires = Requirements(blender=(4, 2, 0), engine="CYCLES", device=Device.GPU)
    assert fitting_blender((gpu,), requires) is gpu
