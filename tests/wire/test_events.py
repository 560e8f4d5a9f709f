from __future__ import annotations

import asyncio
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rendermill.protocol.codec import encode_json
from rendermill.protocol.views import Event, FarmView
from rendermill.wire.errors import Damaged
from rendermill.wire.events import EVENT_MAX_BYTES, EventParser

from ..coordinator.conftest import make_scene


def stream_of(events: list[Event], newline: bytes) -> bytes:
    out = b": hello" + newline + newline
    for event in events:
        out += b"id: %d" % event.sequence + newline + b"event: x" + newline
        out += b"data: " + encode_json(event) + newline + newline + b": alive" + newline + newline
    return out


@given(
    st.lists(st.text(max_size=20), max_size=5),
    st.sampled_from([b"\n", b"\r\n"]),
    st.lists(st.integers(1, 40), min_size=1),
)
def test_events_survive_any_cut(lines, newline, cuts):
    events = [
        Event(sequence=number, kind="log", time=1.5, lines=(line,))
        for number, line in enumerate(lines)
    ]
    data = stream_of(events, newline)
    parser = EventParser()
    got: list[Event] = []
    position = turn = 0
    while position < len(data):
        length = cuts[turn % len(cuts)]
        got += parser.feed(data[position : position + length])
        position += length
        turn += 1
    assert got == events


@pytest.mark.parametrize("data", [b"data: {\n\n", b"data: []\n\n", b'data: {"kind": 3}\n\n'])
def test_an_event_that_makes_no_sense_is_said(data):
    with pytest.raises(Damaged):
        EventParser().feed(data)


def test_an_endless_event_is_not_kept():
    parser = EventParser()
    for _ in range(EVENT_MAX_BYTES // 65536):
        assert parser.feed(b"x" * 65536) == []
    with pytest.raises(Damaged):
        parser.feed(b"x")


async def test_events_go_on_where_the_line_broke(farm, far, line):
    """Every event exactly once, though the line breaks between and during them."""
    start = (await farm.get("/api/v1/farm", FarmView)).sequence
    heard: list[bool] = []
    got: list[Event] = []
    shot = make_scene()
    await shot.upload(farm)
    events = far.events(after=start, on_connection=heard.append)
    async with contextlib.aclosing(events):
        for _ in range(3):
            await shot.submit(farm)
            while len([event for event in got if event.kind == "job"]) <= len(heard) // 2:
                got.append(await anext(events))
            line.cut()
            await shot.submit(farm)
            got.append(await anext(events))
        last = (await farm.get("/api/v1/farm", FarmView)).sequence
        while got[-1].sequence < last:
            got.append(await anext(events))
    numbers = [event.sequence for event in got]
    assert numbers == list(range(start + 1, last + 1))
    assert len({event.job_id for event in got}) == 6
    assert heard[:2] == [False, True]


async def test_without_a_number_events_begin_now(farm):
    shot = make_scene()
    await shot.upload(farm)
    early = await shot.submit(farm)
    events = farm.events()
    async with contextlib.aclosing(events):
        first = asyncio.ensure_future(anext(events))
        # The stream has asked for its place in the order before anything else can.
        late = await shot.submit(farm)
        while not first.done():
            late = await shot.submit(farm)
        assert first.result().job_id not in ("", early.id)
        assert late.id != early.id


def test_a_number_without_an_event_is_where_to_go_on_from():
    parser = EventParser()
    assert parser.feed(b": following\n\n") == []
    assert parser.last_id is None
    assert parser.feed(b": still here\nid: 4") == []
    assert parser.last_id is None
    assert parser.feed(b"2\n\nid: nonsense\n\n") == []
    assert parser.last_id == 42
    event = Event(sequence=43, kind="log", time=1.0)
    assert parser.feed(stream_of([event], b"\n")) == [event]
    assert parser.last_id == 43
