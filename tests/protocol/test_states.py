from __future__ import annotations

from rendermill.protocol.states import (
    FRAME_MOVES,
    FRAME_OPEN,
    JOB_ENDED,
    JOB_MOVES,
    FrameState,
    JobState,
)


def test_every_state_has_its_moves() -> None:
    assert set(JOB_MOVES) == set(JobState)
    assert set(FRAME_MOVES) == set(FrameState)


def test_every_job_that_runs_can_end_and_every_ended_one_can_be_retried() -> None:
    for state in set(JobState) - JOB_ENDED:
        assert JOB_MOVES[state] & JOB_ENDED
    for state in JOB_ENDED:
        assert JobState.QUEUED in JOB_MOVES[state]


def test_only_open_and_failed_frames_become_done() -> None:
    into_done = {state for state, moves in FRAME_MOVES.items() if FrameState.DONE in moves}
    assert into_done == FRAME_OPEN | {FrameState.FAILED}
