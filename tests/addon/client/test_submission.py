from __future__ import annotations

import asyncio
import hashlib
import os
from dataclasses import replace

import pytest
from rendermill.addon.client.chunk_cache import ChunkCache
from rendermill.addon.client.chunking import chunk_file
from rendermill.addon.client.errors import ChangedFile, MissingFiles, UnreadableFile
from rendermill.addon.client.submission import (
    SUBMIT_ATTEMPTS,
    Stage,
    SubmitProgress,
    discard,
    new_key,
    submit,
)
from rendermill.protocol.codec import decode_manifest
from rendermill.protocol.scene import SceneFile
from rendermill.protocol.states import JobState
from rendermill.protocol.views import JobPage
from rendermill.wire import blobs
from rendermill.wire.connection import FarmConnection
from rendermill.wire.errors import NotAllowed, Refused

from .blend_files import Made, data_block, write
from .scenes import capture, make_files


@pytest.fixture
def files(tmp_path):
    return make_files(tmp_path / "scene")


async def test_a_scene_becomes_a_job(farm, files, tmp_path, cache):
    heard: list[SubmitProgress] = []
    captured = capture(files, tmp_path / "out")
    submitted = await submit(farm, captured, progress=heard.append, cache=cache)
    assert submitted.job.state is JobState.QUEUED
    assert submitted.files == 3
    assert submitted.scene_bytes == sum(path.stat().st_size for path in files.values())
    assert submitted.new_chunks == submitted.chunks
    stages = [progress.stage for progress in heard]
    assert stages == sorted(stages, key=list(Stage).index)
    for stage in Stage:
        assert [p for p in heard if p.stage is stage][-1].fraction == 1.0

    # What the coordinator holds is the files, byte by byte.
    kept: dict[str, bytes] = {}

    async def sink(sha: str, data: bytes) -> None:
        kept[sha] = data

    target = tmp_path / "manifest"
    manifest_file = farm.stream("GET", f"/api/v1/blobs/{submitted.job.manifest}")
    async with manifest_file as response:
        target.write_bytes(await response.read())
    manifest = decode_manifest(target.read_bytes())
    await blobs.fetch_chunks(farm, manifest.blobs(), sink)
    for file in manifest.files:
        data = b"".join(kept[chunk.sha256] for chunk in file.chunks)
        assert data == files[file.path].read_bytes()


async def test_the_same_scene_sends_its_manifest_and_nothing_else(farm, files, tmp_path, cache):
    captured = capture(files, tmp_path / "out")
    first = await submit(farm, captured, cache=cache)
    second = await submit(farm, captured, cache=cache)
    assert second.job.id != first.job.id
    assert second.new_chunks == 0
    assert second.sent_bytes < first.sent_bytes / 100


async def test_one_key_is_one_job(farm, files, tmp_path, cache):
    captured = capture(files, tmp_path / "out")
    key = new_key()
    first = await submit(farm, captured, idempotency_key=key, cache=cache)
    second = await submit(farm, captured, idempotency_key=key, cache=cache)
    assert second.job.id == first.job.id


async def test_missing_files_stop_it_unless_sent_anyway(farm, files, tmp_path, cache):
    captured = capture(files, tmp_path / "out", missing=("/a/wood.png", "/a/stone.png"))
    with pytest.raises(MissingFiles, match=r'2 files are missing: /a/wood\.png \(Image "wood"\)'):
        await submit(farm, captured, cache=cache)
    assert (await farm.get("/api/v1/jobs", JobPage)).jobs == ()
    assert (await submit(farm, captured, send_anyway=True, cache=cache)).job.id


async def test_a_stale_memory_of_a_file_is_found_out(farm, files, tmp_path, cache):
    """A file is changed and its time set back: the hash tells, and the scene arrives as it is."""
    texture = files["scene/wood.png"]
    captured = capture(files, tmp_path / "out")
    await submit(farm, replace(captured, files=captured.files[:1]), cache=cache)
    stat = texture.stat()
    cache.put(chunk_file(texture))
    with texture.open("r+b") as file:
        file.write(b"another picture")
    os.utime(texture, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    submitted = await submit(farm, captured, cache=cache)
    first = texture.read_bytes()[: 1024 * 1024]
    assert await blobs.missing(farm, [hashlib.sha256(first).hexdigest()]) == set()
    assert submitted.job.scene_bytes == submitted.scene_bytes


async def test_a_file_that_goes_away_is_named(farm, files, tmp_path, cache):
    files["scene/wood.png"].unlink()
    with pytest.raises(UnreadableFile, match=r"wood\.png"):
        await submit(farm, capture(files, tmp_path / "out"), cache=cache)


async def test_a_file_that_never_holds_still_is_named(farm, files, tmp_path):
    """What is remembered of a file is wrong, and wrong again each time the scene is sent."""
    texture = files["scene/wood.png"]

    class Forgetful(ChunkCache):
        def get(self, path, signature):
            if path != texture:
                return None
            texture.write_bytes(bytes([len(turns) + 1]) * 1_200_000)
            made = chunk_file(texture)
            texture.write_bytes(bytes([len(turns) + 2]) * 1_200_000)
            turns.append(1)
            return made

    turns: list[int] = []
    cache = Forgetful(tmp_path / "chunks.sqlite")
    with pytest.raises(ChangedFile, match=r"wood\.png"):
        await submit(farm, capture(files, tmp_path / "out"), cache=cache)
    assert len(turns) == SUBMIT_ATTEMPTS
    cache.close()


async def test_a_file_may_change_once_it_is_read(farm, files, tmp_path, cache):
    """What was read is what is sent, at once: the scene arrives as it was."""
    texture = files["scene/wood.png"]
    before = texture.read_bytes()

    def write_on(progress: SubmitProgress) -> None:
        if progress.stage is Stage.SENDING and progress.bytes_done == 0:
            texture.write_bytes(b"another picture")

    captured = capture(files, tmp_path / "out")
    submitted = await submit(farm, captured, progress=write_on, cache=cache)
    assert submitted.job.state is JobState.QUEUED
    first = hashlib.sha256(before[: 1024 * 1024]).hexdigest()
    assert await blobs.missing(farm, [first]) == set()


@pytest.mark.parametrize("stage", list(Stage))
async def test_it_can_be_cancelled_at_any_stage(farm, files, tmp_path, cache, stage):
    reached = asyncio.Event()

    def note(progress: SubmitProgress) -> None:
        if progress.stage is stage:
            reached.set()

    captured = capture(files, tmp_path / "out")
    work = asyncio.ensure_future(submit(farm, captured, progress=note, cache=cache))
    await reached.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    # And nothing stands in the way of the next.
    assert (await submit(farm, captured, cache=cache)).job.id


async def test_a_job_that_cannot_be_is_refused_with_the_reason(farm, files, tmp_path, cache):
    captured = capture(files, tmp_path / "out")
    captured = replace(captured, spec=replace(captured.spec, frames=""))
    with pytest.raises(Refused) as caught:
        await submit(farm, captured, cache=cache)
    assert caught.value.problem.status == 422


async def test_without_a_right_to_submit_nothing_is_read(coordinator, files, tmp_path, cache):
    wrong = replace(coordinator.credentials, token="0" * 64)
    async with FarmConnection(wrong) as farm:
        with pytest.raises(NotAllowed):
            await submit(farm, capture(files, tmp_path / "out"), cache=cache)


async def test_only_snapshots_are_settled(farm, tmp_path, cache):
    """The copy in the scratch folder is ours to change; a file of the artist never is."""
    blocks = [
        Made("MA", "Material", 0x7F00_0000_0100 * n, data_block(f"MA{n}", 0, n) + bytes(8))
        for n in range(1, 5)
    ]
    theirs, scratch = tmp_path / "scene" / "lib.blend", tmp_path / "scratch"
    theirs.parent.mkdir()
    scratch.mkdir()
    ours = scratch / "shot.blend"
    for path in (theirs, ours):
        path.write_bytes(write(blocks))
    captured = replace(
        capture({}, tmp_path / "out"),
        files=(SceneFile(ours, "scene/shot.blend"), SceneFile(theirs, "scene/lib.blend")),
        scratch=scratch,
    )
    await submit(farm, captured, cache=cache)
    assert theirs.read_bytes() == write(blocks)
    assert ours.read_bytes() != write(blocks)
    discard(captured)
    assert not scratch.exists()
    discard(captured)
