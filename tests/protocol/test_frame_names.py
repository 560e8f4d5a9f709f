"""Frame numbers in names. That Blender does the same is shown in `tests/addon/scene`."""

from __future__ import annotations

import pytest
from rendermill.protocol.frame_names import numbered


@pytest.mark.parametrize(
    ("name", "frame", "expected"),
    [
        ("", 7, "0007"),
        ("shot_", -5, "shot_-0005"),
        ("shot_##.png", 123, "shot_123.png"),
        ("a#b/c_###_#", 1, "a#b/c_###_1"),
    ],
)
def test_a_number_goes_into_the_last_hashes_of_the_last_part(name: str, frame: int, expected: str):
    assert numbered(name, frame) == expected
