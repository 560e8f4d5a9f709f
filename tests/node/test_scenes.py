"""Scenes on their way from the coordinator into the cache of a whole node."""

from __future__ import annotations

import os

import pytest
from rendermill.protocol.messages import (
    Assign,
    FailureKind,
    FrameDone,
    FrameFailed,
    Hello,
    SceneHeld,
)

from .conftest import StartNode, job_spec
from .coordinator import Coordinator, ref


async def assign(coordinator: Coordinator, manifest: str, job: str = "job-1") -> None:
    frame = ref(1, job=job)
    await coordinator.send(Assign(job=job, frames=(frame,), manifest=manifest, spec=job_spec()))


@pytest.mark.parametrize("which", ["chunk", "manifest"])
async def test_what_came_damaged_is_fetched_again(
    coordinator: Coordinator, start_node: StartNode, which: str
) -> None:
    blend = b"BLENDER" * 100
    manifest = coordinator.add_scene({"scene/shot.blend": blend}, chunk_bytes=300)
    chunks = [sha256 for sha256 in coordinator.blobs if sha256 != manifest]
    coordinator.damage[manifest if which == "manifest" else chunks[0]] = 2
    await start_node()
    await coordinator.hears(Hello)
    await assign(coordinator, manifest)
    done = await coordinator.hears(FrameDone)
    assert coordinator.blobs[done.files[0].sha256] == blend + b" frame 1"
    if which == "chunk":
        assert coordinator.fetched.count(chunks[0]) == 3


async def test_a_scene_that_stays_damaged_is_a_failure_of_the_node(
    coordinator: Coordinator, start_node: StartNode
) -> None:
    manifest = coordinator.add_scene({"scene/shot.blend": b"BLENDER"})
    coordinator.damage = dict.fromkeys(coordinator.blobs, 1000)
    node = await start_node()
    await coordinator.hears(Hello)
    await assign(coordinator, manifest)
    failed = await coordinator.hears(FrameFailed)
    assert failed.kind is FailureKind.NODE
    assert "damaged" in failed.reason
    # Nothing of it is taken for good; the next attempt fetches it anew.
    assert [path for path in (node.cache / "chunks").rglob("*") if path.is_file()] == []
    coordinator.damage.clear()
    await assign(coordinator, manifest, "job-2")
    await coordinator.hears(FrameDone)


async def test_a_scene_the_coordinator_lacks_is_a_failure_of_the_node(
    coordinator: Coordinator, start_node: StartNode
) -> None:
    manifest = coordinator.add_scene({"scene/shot.blend": b"BLENDER"})
    for sha256 in list(coordinator.blobs):
        if sha256 != manifest:
            del coordinator.blobs[sha256]
    await start_node()
    await coordinator.hears(Hello)
    await assign(coordinator, manifest)
    failed = await coordinator.hears(FrameFailed)
    assert "lacks a part of the scene" in failed.reason


async def test_a_scene_larger_than_the_cache_is_a_failure_of_the_node(
    coordinator: Coordinator, start_node: StartNode
) -> None:
    manifest = coordinator.add_scene({"scene/shot.blend": os.urandom(50_000)})
    await start_node(cache_bytes=20_000)
    await coordinator.hears(Hello)
    await assign(coordinator, manifest)
    failed = await coordinator.hears(FrameFailed)
    assert failed.kind is FailureKind.NODE
    assert "--cache-size" in failed.reason
    assert coordinator.fetched == []


async def test_an_older_scene_makes_room_and_the_farm_is_told(
    coordinator: Coordinator, start_node: StartNode
) -> None:
    first = coordinator.add_scene({"scene/shot.blend": os.urandom(15_000)})
    second = coordinator.add_scene({"scene/shot.blend": os.urandom(14_000)})
    await start_node(cache_bytes=20_000)
    await coordinator.hears(Hello)
    await assign(coordinator, first)
    await coordinator.hears(FrameDone)
    await assign(coordinator, second, "job-2")
    await coordinator.hears(FrameDone, lambda done: done.frame.job == "job-2")
    assert coordinator.said(SceneHeld) == [
        SceneHeld(manifest=first),
        SceneHeld(manifest=first, held=False),
        SceneHeld(manifest=second),
    ]


async def test_fetching_goes_on_where_the_line_was_cut(
    coordinator: Coordinator, start_node: StartNode
) -> None:
    manifest = coordinator.add_scene({"scene/shot.blend": b"BLENDER" * 1000})
    coordinator.gate.clear()
    await start_node()
    await coordinator.hears(Hello)
    await assign(coordinator, manifest)
    await coordinator.asked.wait()
    before = len(coordinator.messages)
    coordinator.cut()
    await coordinator.hears(Hello, after=before)
    coordinator.gate.set()
    await coordinator.hears(FrameDone)
