from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rendermill.protocol.batch import (
    HEADER_BYTES,
    BatchError,
    RecordHeader,
    pack_header,
    unpack_header,
)
from rendermill.protocol.manifest import CHUNK_MAX_BYTES

SHA = "0123456789abcdef" * 4


@given(st.integers(1, CHUNK_MAX_BYTES), st.integers(1, CHUNK_MAX_BYTES))
def test_headers_come_back(raw: int, wire: int) -> None:
    header = RecordHeader(SHA, raw, min(wire, raw), compressed=wire < raw)
    data = pack_header(header)
    assert len(data) == HEADER_BYTES
    assert unpack_header(data) == header


def test_the_layout_is_what_the_protocol_says() -> None:
    data = pack_header(RecordHeader(SHA, 258, 3, compressed=True))
    assert data.hex() == SHA + "00000102" + "80000003"


@pytest.mark.parametrize(
    "header",
    [
        RecordHeader(SHA, 0, 0, compressed=False),
        RecordHeader(SHA, CHUNK_MAX_BYTES + 1, 10, compressed=True),
        RecordHeader(SHA, 10, 9, compressed=False),
        RecordHeader(SHA, 10, 10, compressed=True),
        RecordHeader(SHA, 10, 11, compressed=False),
    ],
)
def test_headers_that_lie_are_refused(header: RecordHeader) -> None:
    with pytest.raises(BatchError):
        unpack_header(pack_header(header))


def test_half_a_header_is_refused() -> None:
    with pytest.raises(BatchError, match="ends inside"):
        unpack_header(b"\x00" * (HEADER_BYTES - 1))
