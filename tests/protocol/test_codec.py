from __future__ import annotations

import typing

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rendermill.protocol import codec, messages, views
from rendermill.protocol.codec import CodecError
from rendermill.protocol.job import JobSpec

_NODE = typing.get_args(messages.NodeMessage)
_COORDINATOR = typing.get_args(messages.CoordinatorMessage)
# Hypothesis builds them from the annotations; surrogates cannot travel as UTF-8.
st.register_type_strategy(str, st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
st.register_type_strategy(float, st.floats(allow_nan=False, allow_infinity=False))
st.register_type_strategy(int, st.integers(-(2**62), 2**62))


@given(st.one_of([st.from_type(cls) for cls in _NODE]))
def test_node_messages_come_back(message: messages.NodeMessage) -> None:
    assert codec.decode_node_message(codec.encode_message(message)) == message


@given(st.one_of([st.from_type(cls) for cls in _COORDINATOR]))
def test_coordinator_messages_come_back(message: messages.CoordinatorMessage) -> None:
    assert codec.decode_coordinator_message(codec.encode_message(message)) == message


@given(st.from_type(JobSpec))
def test_specs_come_back_from_json(spec: JobSpec) -> None:
    assert codec.decode_json(codec.encode_json(spec), JobSpec) == spec


def test_a_message_is_only_understood_in_its_direction() -> None:
    data = codec.encode_message(messages.ForgetJob(job="j"))
    with pytest.raises(CodecError, match="no message of type 'ForgetJob'"):
        codec.decode_node_message(data)


@given(st.binary(max_size=200))
def test_noise_is_refused_with_one_kind_of_error(data: bytes) -> None:
    with pytest.raises(CodecError):
        codec.decode_node_message(data)


@pytest.mark.parametrize(
    "data",
    [
        msgpack.packb(["Goodbye", {"reason": 1}]),
        msgpack.packb(["Goodbye", {}]),
        msgpack.packb(["Goodbye", {"reason": msgpack.ExtType(1, b"x")}]),
        msgpack.packb(["Heartbeat", {"load": 1.0, "memory_free_bytes": "7", "disk_free_bytes": 1}]),
        msgpack.packb({"Goodbye": {"reason": ""}}),
        msgpack.packb(["Goodbye", {1: 2}]),
        b"\x91" * 5_000,
        b"\x92\xa7Goodbye" + b"\x81\xa6reason" * 3_000 + b"\xa0",
        b"\xdd\xff\xff\xff\xff",
        msgpack.packb(["Goodbye", {"reason": "x" * messages.MESSAGE_MAX_BYTES}]),
    ],
)
def test_hostile_messages_are_refused(data: bytes) -> None:
    with pytest.raises(CodecError):
        codec.decode_node_message(data)


def test_a_message_over_the_limit_is_not_sent() -> None:
    with pytest.raises(CodecError, match="over the limit"):
        codec.encode_message(messages.Goodbye(reason="x" * messages.MESSAGE_MAX_BYTES))


def test_a_body_with_an_unknown_field_is_refused_by_name() -> None:
    with pytest.raises(CodecError, match=r"Health has no field 'colour'"):
        codec.decode_json(
            b'{"protocol":1,"software":"x","farm":"f","farm_id":"i","colour":2}', views.Health
        )


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'{"protocol":"1"}', b"[" * 100_000])
def test_bodies_that_are_wrong(body: bytes) -> None:
    with pytest.raises(CodecError):
        codec.decode_json(body, views.Health)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), 2**63])
def test_numbers_that_cannot_be_stored_or_sent_on_are_refused(number: float) -> None:
    message = messages.Heartbeat(load=0.5, memory_free_bytes=1, disk_free_bytes=1)
    field = "load" if isinstance(number, float) else "disk_free_bytes"
    plain = codec.to_plain(message) | {field: number}
    data = msgpack.packb(["Heartbeat", plain])
    with pytest.raises(CodecError, match=f"Heartbeat.{field}"):
        codec.decode_node_message(data)


@pytest.mark.parametrize("number", [2**63, 10**30, -(2**63) - 1])
def test_a_body_with_a_number_of_more_than_64_bits_is_refused(number: int) -> None:
    body = b'{"load": 0.5, "memory_free_bytes": %d, "disk_free_bytes": 1}' % number
    with pytest.raises(CodecError, match="memory_free_bytes is a number of more than 64 bits"):
        codec.decode_json(body, messages.Heartbeat)


# Built by hand, so that numbers of every kind come at every depth.
_ANY_NUMBER = st.floats() | st.integers(-(2**70), 2**70)
_PLAIN = st.recursive(
    st.none() | st.booleans() | st.text(max_size=3) | st.binary(max_size=3) | _ANY_NUMBER,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(_PLAIN)
def test_the_quick_look_at_numbers_finds_what_the_slow_one_names(plain: object) -> None:
    try:
        codec._refuse_numbers(plain, "Message")
    except CodecError:
        is_sound = False
    else:
        is_sound = True
    assert codec._are_numbers_sound(plain) is is_sound
