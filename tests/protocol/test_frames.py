from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rendermill.protocol.frames import (
    FRAME_MAX,
    FRAME_MIN,
    JOB_FRAMES_MAX,
    FrameRangeError,
    format_frames,
    frame_sequence,
    frame_step,
    parse_frames,
)


@pytest.mark.parametrize(
    ("text", "frames"),
    [
        ("7", [7]),
        ("-3", [-3]),
        ("1-5", [1, 2, 3, 4, 5]),
        ("-5--3", [-5, -4, -3]),
        ("-1-1", [-1, 0, 1]),
        ("1-10:4", [1, 5, 9]),
        (" 1 - 3 : 2 , 8 ", [1, 3, 8]),
        ("3,1,2,2", [1, 2, 3]),
        ("1-10:2, 40, -2-2", [-2, -1, 0, 1, 2, 3, 5, 7, 9, 40]),
        (f"{FRAME_MIN},{FRAME_MAX}", [FRAME_MIN, FRAME_MAX]),
    ],
)
def test_ranges_people_write(text: str, frames: list[int]) -> None:
    assert list(parse_frames(text)) == frames


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("1,,2", "empty"),
        ("a", '"a" is not a frame'),
        ("1-", "not a frame"),
        ("1-5:0", "step"),
        ("5-1", 'write "1-5"'),
        ("1.5", "not a frame"),
        (f"{FRAME_MAX + 1}", "lie between"),
        (f"1-{JOB_FRAMES_MAX + 1}", "more than"),
        ("9" * 10_000, "lie between"),
        ("١٢", "not a frame"),
    ],
)
def test_ranges_that_cannot_be(text: str, says: str) -> None:
    with pytest.raises(FrameRangeError, match=says):
        parse_frames(text)


def test_the_same_frames_again_and_again_are_not_read_for_ever() -> None:
    assert len(parse_frames(",".join(["1-200000"] * 10))) == 200_000
    with pytest.raises(FrameRangeError, match="more than"):
        parse_frames(",".join(["1-200000"] * 100_000))


def test_too_many_frames_over_several_items() -> None:
    half = JOB_FRAMES_MAX // 2
    with pytest.raises(FrameRangeError, match="split it"):
        parse_frames(f"1-{half}, {half + 1}-{JOB_FRAMES_MAX}, -5--1")


@pytest.mark.parametrize(
    ("frames", "text"),
    [
        ([1], "1"),
        ([1, 2], "1-2"),
        ([1, 3], "1, 3"),
        ([1, 3, 5], "1-5:2"),
        ([-2, -1, 0, 10], "-2-0, 10"),
        ([5, 5, 4], "4-5"),
    ],
)
def test_canonical_text(frames: list[int], text: str) -> None:
    assert format_frames(frames) == text


def test_no_frame_has_no_text() -> None:
    with pytest.raises(FrameRangeError):
        format_frames([])


@given(st.sets(st.integers(-500, 500), min_size=1))
def test_text_and_frames_say_the_same(frames: set[int]) -> None:
    assert parse_frames(format_frames(frames)) == tuple(sorted(frames))


@pytest.mark.parametrize("text", ["7", "1-250", "-5--1", "1-10:2", "1-200000", "1-3:2", "1-9:4"])
def test_a_single_run_stays_a_range(text: str) -> None:
    frames = frame_sequence(text)
    assert isinstance(frames, range)
    assert tuple(frames) == parse_frames(text)
    # Written, and measured, without looking at each frame; no other than the frames themselves.
    assert format_frames(frames) == format_frames(list(frames))
    assert frame_step(frames) == frame_step(list(frames))


def test_several_runs_are_the_distinct_frames_in_order() -> None:
    assert list(frame_sequence("8, 1-3, 2")) == [1, 2, 3, 8]


@given(st.integers(-100, 100), st.integers(1, 40), st.integers(1, 7), st.sampled_from([1, -1]))
def test_any_range_is_written_like_its_frames(first: int, count: int, step: int, way: int) -> None:
    frames = range(first, first + count * step, step)[::way]
    assert format_frames(frames) == format_frames(list(frames))
    assert parse_frames(format_frames(frames)) == tuple(sorted(frames))
