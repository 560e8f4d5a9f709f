"""The frames of a job: numbers and places, orders, and what a long job costs before it begins."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import pytest
from rendermill.coordinator.farm.config import FarmConfig
from rendermill.coordinator.farm.events import JobSubmitted
from rendermill.coordinator.farm.farm import Farm
from rendermill.coordinator.farm.frames import BinaryOrder, FrameTable
from rendermill.protocol.frames import FILM_FRAME, JOB_FRAMES_MAX, frame_sequence
from rendermill.protocol.job import Film, FrameOrder
from rendermill.protocol.states import FrameState

from .farm_builders import Scenario, assigned, spec

BYTES_A_FRAME = 1.5
FIXED_BYTES = 200_000
"""For the job itself: its record, its group, what it has learned."""


def table(text: str, order: FrameOrder = FrameOrder.FORWARD, film: bool = False) -> FrameTable:
    return FrameTable("j", frame_sequence(text), order, FrameState.WAITING, film)


@pytest.mark.parametrize("text", ["3", "3-9", "3-9:2", "3-5, 9", "-4--2, 7-21:7"])
@pytest.mark.parametrize("film", [False, True])
def test_every_frame_has_its_place(text: str, film: bool) -> None:
    frames, numbers = table(text, film=film), list(frame_sequence(text))
    assert [frames.number(position) for position in range(len(frames))] == numbers
    assert [frames.position(number) for number in numbers] == list(range(len(numbers)))
    others = set(range(numbers[0] - 2, numbers[-1] + 3)) - set(numbers)
    assert {frames.position(number) for number in others} == {None}
    for number in range(numbers[0] - 2, numbers[-1] + 3):
        assert frames.position_from(number) == sum(one < number for one in numbers)
    assert frames.position(FILM_FRAME) == frames.film == (len(numbers) if film else None)
    if frames.film is not None:
        assert frames.number(frames.film) == FILM_FRAME


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 9, 100, 1001])
def test_binary_order_has_every_position_once_and_halves_the_gaps(count: int) -> None:
    order = list(BinaryOrder(count))
    assert sorted(order) == list(range(count))
    assert order[:2] == [0, count - 1][:count]
    if count > 4:
        assert order[2] == (count - 1) // 2
        widest = max(later - earlier for earlier, later in pairwise(sorted(order[:5])))
        assert widest <= count // 4 + 1
    assert BinaryOrder(count)[-1] == order[-1]
    assert BinaryOrder(count)[1:4] == order[1:4]
    with pytest.raises(IndexError):
        BinaryOrder(count)[count]


@pytest.mark.parametrize("order", list(FrameOrder))
@pytest.mark.parametrize("film", [None, Film(name="f.mp4", folder="/", fps=24)])
def test_a_long_job_costs_a_byte_a_frame_until_it_is_rendered(
    order: FrameOrder, film: Film | None
) -> None:
    farm = Scenario(Farm(FarmConfig()))
    long = spec(f"1-{JOB_FRAMES_MAX}", order=order, film=film)
    tracemalloc.start()
    try:
        event = JobSubmitted(job="j", spec=long, manifest="0" * 64, scene_bytes=1, scene_files=1)
        farm.farm.apply(event, farm.now)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # No list of the frames was made in between either.
    assert kept <= peak < BYTES_A_FRAME * JOB_FRAMES_MAX + FIXED_BYTES
    decisions = farm.join("a")
    first = {"forward": "1-2", "backward": f"{JOB_FRAMES_MAX - 1}-{JOB_FRAMES_MAX}"}
    assert assigned(decisions) == {"a": first.get(order.value, f"1, {JOB_FRAMES_MAX}")}
