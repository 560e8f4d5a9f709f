"""A film through a whole farm: rendered, encoded with its sound, the encoder killed, delivered."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ..local_farms import ROOT
from .conftest import wait_until

SCENES = ROOT / "tests" / "node" / "blender" / "film_scenes.py"
BLENDER_SECONDS = 300

STALLS = """
import sys, time

def hook(event, arguments):
    # Written by the node, in a thread, when it has said that it begins to encode.
    if event == "open" and str(arguments[0]).endswith("pictures.json"):
        while True:
            time.sleep(1)

sys.addaudithook(hook)
"""
"""A ``sitecustomize`` with which a node lives on and never gets a film done."""


def in_blender(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, str(SCENES), *words],
        capture_output=True,
        text=True,
        timeout=BLENDER_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def decoded(folder: Path, film: Path) -> dict[str, object]:
    said = in_blender("decode", str(folder), str(film), "sound")
    line = next(line for line in said.splitlines() if line.startswith("DECODED "))
    return json.loads(line[8:])


@pytest.fixture
def film_scene(tmp_path: Path) -> Path:
    """A scene whose output is a film with sound and transparency, that keeps every pixel."""
    folder = tmp_path / "artist"
    in_blender("make", str(folder), "alpha")
    return folder / "film.blend"


def test_a_film_comes_home_as_blender_makes_it(farm, film_scene: Path, tmp_path: Path) -> None:
    farm.start_coordinator()
    farm.start_node("one")
    farm.wait_ready(["one"])
    done = farm.command("submit", str(film_scene), "--wait", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    out = film_scene.parent / "out"
    film = out / "shot_0001-0010.mkv"
    assert said["film"] == str(film)
    assert [path.name for path in out.iterdir()] == [film.name]

    # The frames stay on the farm, and come when they are wanted.
    again = farm.command("fetch", said["id"], "--film-frames", "--json")
    assert again.returncode == 0, again.stdout + again.stderr
    frames = sorted(path.name for path in (out / "shot_0001-0010").iterdir())
    assert frames == [f"shot_{number:04d}.png" for number in range(1, 11)]

    job = farm.job(said["id"])
    assert job["film"]["sha256"]
    assert job["film"]["length"] == film.stat().st_size
    assert farm.fetch(f"/api/v1/jobs/{said['id']}/film") == film.read_bytes()

    wanted = decoded(tmp_path / "ours", film)
    film.unlink()
    in_blender("direct", str(film_scene))
    assert decoded(tmp_path / "blenders", film) == wanted


def test_the_node_that_encodes_is_killed_and_another_makes_the_film(
    farm, film_scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    farm.start_coordinator("--lease", "5")
    (tmp_path / "stalls").mkdir()
    (tmp_path / "stalls" / "sitecustomize.py").write_text(STALLS)
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path / "stalls"))
        farm.start_node("doomed")
    farm.wait_ready(["doomed"])
    done = farm.command("submit", str(film_scene), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    job = json.loads(done.stdout.splitlines()[-1])["id"]

    def is_encoding() -> bool:
        tries = farm.ask("GET", f"/api/v1/jobs/{job}/film/attempts")["attempts"]
        return bool(tries) and not tries[-1]["reason"] and tries[-1]["outcome"] == "rendering"

    wait_until(is_encoding, "the film is being encoded", BLENDER_SECONDS)
    assert farm.job(job)["state"] == "assembling"
    farm.members["doomed"].kill()
    farm.start_node("heir")
    wait_until(lambda: farm.job(job)["state"] == "done", "the film is done", BLENDER_SECONDS)

    tries = farm.ask("GET", f"/api/v1/jobs/{job}/film/attempts")["attempts"]
    assert (tries[-1]["outcome"], tries[-1]["node_name"]) == ("done", "heir")
    # No frame was rendered again for it.
    for number in range(1, 11):
        seen = farm.ask("GET", f"/api/v1/jobs/{job}/frames/{number}")["attempts"]
        assert [one["node_name"] for one in seen] == ["doomed"]
    fetched = farm.command("fetch", job, "--json")
    assert fetched.returncode == 0, fetched.stdout + fetched.stderr
    film = Path(json.loads(fetched.stdout.splitlines()[-1])["film"])
    assert film.name == "shot_0001-0010.mkv"
    assert len(decoded(tmp_path / "pictures", film)["pictures"]) >= 10
