"""The film of a job comes home alone, and its frames only where they are wanted."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rendermill.addon.client.delivery import deliver
from rendermill.addon.client.submission import submit
from rendermill.protocol.states import JobState
from rendermill.protocol.views import JobView

from ...coordinator.film_node import CAN_ENCODE, FILM, REQUIRES, film_of, work
from .scenes import capture, make_files


@pytest.fixture
def out(tmp_path):
    return tmp_path / "renders"


@pytest.fixture
async def send(farm, tmp_path, out, cache):
    """Submit a scene that asks for a film."""

    async def run(**changes: object) -> JobView:
        fields: dict[str, object] = {"film": FILM, "requires": REQUIRES} | changes
        captured = capture(make_files(tmp_path / "scene"), out, "1-3", **fields)
        return (await submit(farm, captured, cache=cache)).job

    return run


@pytest.fixture
async def make(farm, make_node):
    """Render and encode what waits; return the film's bytes."""

    async def run(incarnation: str = "one", name: str = FILM.name) -> bytes:
        node = make_node(farm, 1, incarnation)
        async with node.connected(machine=CAN_ENCODE):
            return film_of(await work(node, name=name))

    return run


def tree(folder) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


async def test_only_the_film_comes_and_the_frames_when_asked_for(farm, send, make, out):
    job = await send()
    film = await make()
    delivered = await deliver(farm, job.id)
    assert delivered.job.state is JobState.DONE
    assert delivered.film == out / FILM.name
    assert delivered.files == (out / FILM.name,)
    assert (delivered.frames, delivered.frames_without_files) == (3, 3)
    assert (out / FILM.name).read_bytes() == film
    assert tree(out) == [FILM.name]
    both = await deliver(farm, job.id, film_frames=True)
    assert both.film == delivered.film
    stem = FILM.name.removesuffix(".mp4")
    assert tree(out) == [FILM.name, *(f"{stem}/f_{number:04d}.png" for number in (1, 2, 3))]


async def test_frames_that_the_artist_asked_for_come_by_themselves(farm, send, make, out):
    """Into a folder that cannot be the film itself."""
    job = await send(film=replace(FILM, name="cut", keep_frames=True))
    await make(name="cut")
    delivered = await deliver(farm, job.id)
    assert delivered.film == out / "cut"
    assert tree(out) == ["cut", *(f"cut_frames/f_{number:04d}.png" for number in (1, 2, 3))]


async def test_a_film_that_is_not_ours_is_kept_unless_overwriting(farm, send, make, out):
    job = await send(overwrite=False)
    await make()
    out.mkdir()
    (out / FILM.name).write_bytes(b"the artist's own")
    kept = await deliver(farm, job.id)
    assert kept.film is None
    assert kept.kept == (out / FILM.name,)
    assert (out / FILM.name).read_bytes() == b"the artist's own"
    forced = await deliver(farm, job.id, overwrite=True)
    assert forced.film == out / FILM.name


async def test_frames_rendered_anew_bring_a_new_film(farm, send, make, out):
    job = await send(overwrite=False)
    first = await make()
    await deliver(farm, job.id)
    await farm.post(f"/api/v1/jobs/{job.id}/retry", JobView, body={"frames": "2"})
    second = await make("two")
    assert first != second
    await deliver(farm, job.id)
    assert (out / FILM.name).read_bytes() == second


async def test_into_another_folder(farm, send, make, tmp_path):
    job = await send()
    film = await make()
    elsewhere = tmp_path / "elsewhere"
    await deliver(farm, job.id, destination=elsewhere)
    assert (elsewhere / FILM.name).read_bytes() == film


async def test_a_job_that_was_stopped_has_no_film(farm, send, out):
    job = await send()
    await farm.post(f"/api/v1/jobs/{job.id}/cancel", JobView)
    delivered = await deliver(farm, job.id)
    assert (delivered.film, delivered.files) == (None, ())
    assert delivered.job.film is not None
    assert "3 frames are missing" in delivered.job.film.problem
