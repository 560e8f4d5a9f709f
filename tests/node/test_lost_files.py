"""What is told of files that a browser did not send."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from rendermill.node.lost_files import findings, outside


def missing(*sources: str) -> list[dict[str, str]]:
    return [{"source": source, "user": f"Image {at}"} for at, source in enumerate(sources)]


def test_what_lies_outside_of_the_tree_is_not_taken_for_sent(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "scene").mkdir(parents=True)
    files = [
        {"source": str(tree / "scene" / "wood.png"), "path": "scene/wood.png"},
        {"source": str(tmp_path / "tree two" / "wood.png"), "path": "other/wood.png"},
    ]
    assert [one["source"] for one in outside(files, tree)] == [files[1]["source"]]


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_a_tree_behind_a_link_is_the_tree(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert outside([{"source": str(tmp_path / "real" / "a.png")}], tmp_path / "link") == []
    (told,) = findings(missing(str(tmp_path / "real" / "a.png")), tmp_path / "link")
    assert "not among those you dropped" in told["what"]


def test_each_kind_says_what_to_do(tmp_path: Path) -> None:
    inside, away = str(tmp_path / "scene" / "lost.png"), "/home/ada/far.png"
    absolute, below = findings(missing(inside, away, "C:\\tex\\wood.png"), tmp_path)
    assert absolute["severity"] == below["severity"] == "error"
    assert absolute["what"].startswith("2 files of the scene are outside of what you dropped")
    assert "/home/ada/far.png (Image 1), C:\\tex\\wood.png (Image 2)." in absolute["what"]
    assert "Make Paths Relative" in absolute["fix"]
    assert below["what"].startswith("1 file of the scene is not among those you dropped")
    assert inside in below["what"]
    assert "Drop the folder" in below["fix"]


def test_a_long_list_is_told_short(tmp_path: Path) -> None:
    (told,) = findings(missing(*(f"/far/{at}.png" for at in range(9))), tmp_path)
    assert told["what"].endswith("/far/4.png (Image 4) and 4 more.")


def test_nothing_is_told_of_nothing(tmp_path: Path) -> None:
    assert findings([], tmp_path) == []
