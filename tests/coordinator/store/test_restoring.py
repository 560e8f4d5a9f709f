"""What a start reads: sums of the jobs that are done, the frames of all others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from rendermill.coordinator.farm.config import FarmConfig
from rendermill.coordinator.farm.decisions import DeleteJob, SaveFrames, SaveJob
from rendermill.coordinator.farm.farm import Farm
from rendermill.coordinator.farm.records import AllDone, FrameRecord, JobRecord, ResultRecord
from rendermill.coordinator.farm.validate import validate
from rendermill.coordinator.store import rows
from rendermill.coordinator.store.database import migrate, open_for_writing
from rendermill.protocol.frames import FILM_FRAME, format_frames
from rendermill.protocol.job import Film
from rendermill.protocol.messages import FrameFile, FrameStats
from rendermill.protocol.states import FrameState, JobState
from sqlalchemy import Connection

from ..conftest import make_scene

FILM = Film(name="f.mp4", folder="/", fps=24)


@pytest.fixture
def connection(tmp_path) -> Iterator[Connection]:
    engine = open_for_writing(tmp_path / "c.db")
    migrate(engine)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def job(number: int, state: JobState, frames: int = 3, film: Film | None = None) -> JobRecord:
    return JobRecord(
        id=f"{number:032x}",
        number=number,
        spec=make_scene(format_frames(range(1, frames + 1)), film=film).spec,
        manifest="0" * 64,
        scene_bytes=1,
        scene_files=1,
        state=state,
        paused=False,
        priority=50,
        generation=1,
        untouched=FrameState.WAITING,
        scouts_approved=False,
        created=1.0,
        ended=2.0,
    )


def frame(of: JobRecord, number: int, state: FrameState = FrameState.DONE) -> FrameRecord:
    result = ResultRecord(
        generation=1,
        epoch=number,
        node="n",
        finished=2.0,
        files=(FrameFile(root="main", path=f"{number}.png", sha256="a" * 64, length=1),),
        stats=FrameStats(seconds=number / 4 if number < FILM_FRAME else 1000.0),
        thumbnail="b" * 64 if number == 2 else "",
    )
    is_done = state is FrameState.DONE
    return FrameRecord(job=of.id, frame=number, state=state, result=result if is_done else None)


def write(connection: Connection, of: JobRecord, *frames: FrameRecord) -> None:
    rows.write_decisions(connection, [SaveJob(record=of), SaveFrames(records=frames)])


def restored(connection: Connection) -> Farm:
    done = rows.read_all_done(connection)
    farm = Farm(FarmConfig())
    left = rows.read_frames_but(connection, {one.job for one in done})
    farm.restore(rows.read_jobs(connection), left, [], 1, 10.0, done)
    validate(farm)
    return farm


def test_a_job_that_is_done_is_summed_up(connection):
    ended = job(1, JobState.DONE)
    write(connection, ended, *(frame(ended, number) for number in (1, 2, 3)))
    found = rows.read_all_done(connection)
    assert found == [AllDone(job=ended.id, frames=3, seconds=1.5, newest_thumbnail=2)]
    assert list(rows.read_frames_but(connection, {ended.id})) == []
    farm = restored(connection)
    view = farm.job_view(ended.id, 10.0)
    assert view is not None
    assert (view.state, view.counts.done, view.mean_frame_seconds) == (JobState.DONE, 3, 0.5)
    assert farm.is_shed(ended.id)
    farm.recall(ended.id, rows.read_frames(connection, ended.id))
    validate(farm)


def test_of_a_job_with_a_film_the_film_is_read(connection):
    ended = job(1, JobState.DONE, film=FILM)
    write(connection, ended, *(frame(ended, number) for number in (1, 2, 3, FILM_FRAME)))
    (found,) = rows.read_all_done(connection)
    # The film says nothing of how long frames take, and is no frame.
    assert (found.frames, found.seconds, found.newest_thumbnail) == (3, 1.5, 2)
    (left,) = rows.read_frames_but(connection, {ended.id})
    assert left.frame == FILM_FRAME
    table = restored(connection).state.jobs[ended.id].table
    assert table.film == 3
    assert table.state(3) is FrameState.DONE


@pytest.mark.parametrize(
    "state", [state for state in JobState if state is not JobState.DONE], ids=lambda one: one.value
)
def test_of_any_other_job_every_frame_is_read(connection, state):
    other = job(1, state)
    write(connection, other, *(frame(other, number) for number in (1, 2, 3)))
    assert rows.read_all_done(connection) == []
    assert [one.frame for one in rows.read_frames_but(connection, ())] == [1, 2, 3]


def test_what_is_out_of_place_is_read_and_looked_at(connection):
    """Whatever should not be is not summed up: reading it says what is wrong, or mends it."""
    wrong = [job(number, JobState.DONE) for number in range(1, 4)]
    for one in wrong:
        write(connection, one, *(frame(one, number) for number in (1, 2, 3)))
    change = "UPDATE frames SET {} WHERE job = ? AND frame = 2"
    connection.exec_driver_sql(change.format("state = 'failed'"), (wrong[0].id,))
    connection.exec_driver_sql(change.format("result = NULL"), (wrong[1].id,))
    connection.exec_driver_sql(change.format("result = '{torn'"), (wrong[2].id,))
    assert rows.read_all_done(connection) == []


def test_many_jobs_are_asked_for_in_pieces(connection, monkeypatch):
    monkeypatch.setattr(rows, "JOBS_ASKED_MAX", 2)
    jobs = [job(number, JobState.QUEUED) for number in range(1, 8)]
    for one in jobs:
        write(connection, one, frame(one, 1))
    assert sorted(one.job for one in rows.read_frames_but(connection, {jobs[3].id})) == [
        one.id for one in jobs if one is not jobs[3]
    ]


def test_sums_that_contradict_the_job_are_refused(connection):
    short = job(1, JobState.DONE, frames=5)
    write(connection, short, *(frame(short, number) for number in (1, 2, 3)))
    with pytest.raises(ValueError, match=r"3 finished frames of job .* has 5 frames"):
        restored(connection)
    rows.write_decisions(connection, [DeleteJob(job=short.id)])
    assert restored(connection).job_ids() == ()
