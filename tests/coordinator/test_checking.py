"""``rendermill coordinator --check`` on a real data folder."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

from rendermill.wire.connection import FarmConnection


def check(data: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rendermill", "coordinator", "--check", "--data", str(data)]
    return subprocess.run(
        [*command, *words], capture_output=True, text=True, timeout=120, check=False
    )


async def test_it_finds_what_is_damaged_and_the_next_start_renders_it_again(
    start, scene, make_node, data
):
    coordinator = await start()
    async with FarmConnection(coordinator.credentials) as farm:
        shot = scene()
        await shot.upload(farm)
        node = make_node(farm)
        async with node.connected():
            job = await shot.submit(farm)
            await asyncio.wait_for(node.render(lambda: len(node.accepted) == 3), 60)
    running = await asyncio.to_thread(check, data)
    assert running.returncode == 2
    assert "Another coordinator" in running.stderr
    await coordinator.stop()

    sound = await asyncio.to_thread(check, data)
    assert (sound.returncode, sound.stderr) == (0, "")
    assert "Everything is as it was stored." in sound.stdout

    (result,) = [name for name in shot.chunks if shot.chunks[name] == b"BLENDER"]
    for name in (result, a_picture(data)):
        place = data / "blobs" / name[:2] / name
        place.write_bytes(bytes([place.read_bytes()[0] ^ 1]) + place.read_bytes()[1:])
    found = await asyncio.to_thread(check, data, "--json")
    assert found.returncode == 1
    said = json.loads(found.stdout)
    assert not said["ok"]
    assert len(said["damaged"]) == 2
    assert [(one["job"], one["generation"]) for one in said["lost"]] == [(job.id, 1)]
    assert said["scenes"] == [job.id]
    assert said["database"] == []

    again = await start()
    async with FarmConnection(again.credentials) as farm:
        node = make_node(farm, incarnation="two")
        async with node.connected():
            await asyncio.wait_for(node.render(lambda: len(node.accepted) == 1), 60)
        assert [ref.frame for ref in node.rendered] == [said["lost"][0]["frame"]]


def a_picture(data: Path) -> str:
    """A blob that is a picture."""
    for path in sorted((data / "blobs").glob("[0-9a-f][0-9a-f]/*")):
        if path.read_bytes().startswith(b"\x89PNG"):
            return path.name
    raise AssertionError("there is no picture")


def test_a_folder_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    done = check(tmp_path / "none")
    assert done.returncode == 2
    assert "There is no data folder" in done.stderr
    assert not (tmp_path / "none").exists()
