"""Sentences fit their panel, however narrow it is and whatever they name."""

from __future__ import annotations

from typing import Any

import pytest
from rendermill.addon.ui import layouts

pytestmark = pytest.mark.bpy

PATH = "/projects/studio/mill/textures/very_deep/wood_planks_basecolor_4k.png"
SENTENCE = f'Image "wood" needs {PATH}, which does not exist.'


def widest(lines: list[str]) -> float:
    size = layouts._points() * layouts._scale()
    return max(layouts._width_of(line, size) for line in lines)


@pytest.mark.parametrize("width", [60, 143, 300, 448])
def test_no_line_is_wider_than_its_room_and_no_letter_is_lost(width: int):
    lines = layouts.wrap(SENTENCE, width)
    assert widest(lines) <= width
    assert "".join(lines).replace(" ", "") == SENTENCE.replace(" ", "")


def test_a_path_is_broken_after_a_slash_where_that_is_not_too_early():
    lines = layouts.wrap(PATH, 200)
    assert len(lines) > 1
    assert all(line[-1] in "/_" for line in lines[:-1])


def test_names_without_a_mark_and_of_any_letters_are_broken_as_well():
    for text in ("n" * 230, "描述" * 60, "🎬" * 40):
        lines = layouts.wrap(text, 120)
        assert "".join(lines) == text
        assert widest(lines) <= 120


class Recorder:
    """A layout that keeps what is drawn on it."""

    def __init__(self) -> None:
        self.labels: list[tuple[str, str]] = []

    def column(self, align: bool) -> Recorder:
        return self

    def label(self, text: str, icon: str) -> None:
        self.labels.append((text, icon))


def drawn(text: str, **options: Any) -> list[tuple[str, str]]:
    layout = Recorder()
    layouts.draw_text(layout, text, **options)
    return layout.labels


def test_buttons_beside_a_text_take_their_room_from_it():
    alone = drawn(SENTENCE, icon="ERROR", width=260)
    beside = drawn(SENTENCE, icon="ERROR", width=260, beside=3)
    assert len(beside) > len(alone)
    assert [icon for _, icon in alone] == ["ERROR"] + ["BLANK1"] * (len(alone) - 1)
