"""What has changed in a scene since it was sent, and which jobs were made of a file."""

from __future__ import annotations

import os
from pathlib import Path

from rendermill.addon.client import caches
from rendermill.addon.client.caches import Cache
from rendermill.addon.client.sent_jobs import jobs_of_blend, remember_sent
from rendermill.addon.client.sent_scenes import measure, remember_scene

from ...coordinator.conftest import make_scene

BLEND = "/shots/shot.blend"


def touch(path: Path, data: bytes, seconds: float = 1000.0) -> Path:
    path.write_bytes(data)
    os.utime(path, (seconds, seconds))
    return path


def test_new_changed_and_gone_files_are_named(tmp_path: Path):
    wood = touch(tmp_path / "wood.png", b"12345")
    iron = touch(tmp_path / "iron.png", b"123")
    before = measure(BLEND, "Scene", [wood, iron])
    assert (before.files, before.total_bytes, before.sent_at) == (2, 8, None)
    assert (before.new, before.changed, before.gone) == ((), (), 0)
    remember_scene(BLEND, "Scene", [wood, iron])
    same = measure(BLEND, "Scene", [wood, iron])
    assert same.sent_at is not None
    assert (same.new, same.changed, same.changed_bytes, same.gone) == ((), (), 0, 0)

    touch(wood, b"54321", seconds=2000.0)
    rust = touch(tmp_path / "rust.png", b"1234567")
    now = measure(BLEND, "Scene", [wood, rust])
    assert (now.new, now.changed, now.gone) == (("rust.png",), ("wood.png",), 1)
    assert now.changed_bytes == 12
    # Another scene of the file, and another file, were never sent.
    assert measure(BLEND, "Other", [wood]).sent_at is None
    assert measure("/shots/other.blend", "Scene", [wood]).sent_at is None


def test_a_note_that_is_damaged_is_no_note(tmp_path: Path, home: Path):
    wood = touch(tmp_path / "wood.png", b"12345")
    remember_scene(BLEND, "Scene", [wood, tmp_path / "gone.png"])
    (note,) = (home / "data" / "scenes").glob("*.json")
    for text in ("", "[]", '{"files": {"a": 1}, "sent": 1}', '{"files": [], "sent": 1}'):
        note.write_text(text)
        assert measure(BLEND, "Scene", [wood]).sent_at is None


def test_jobs_of_a_file_are_known_by_farm():
    spec = make_scene("1-3").spec
    remember_sent("one", "attic", spec, BLEND)
    remember_sent("two", "attic", spec, "/shots/other.blend")
    remember_sent("three", "cellar", spec, BLEND)
    remember_sent("four", "attic", spec)
    assert jobs_of_blend(BLEND, "attic") == ("one",)
    assert jobs_of_blend(BLEND, "nowhere") == ()


def test_caches_are_measured_and_cleared(home: Path):
    cache = home / "cache"
    left = cache / "snapshots" / "scene-00000000-1-x" / "shot.blend"
    for path in (cache / "chunks.sqlite", cache / "pictures" / "j.1.jpg", left):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"0123456789")
    sizes = caches.measure_caches()
    assert {kind.value: size.total_bytes for kind, size in sizes.items()} == dict.fromkeys(
        ("chunks", "pictures", "copies"), 10
    )
    for kind in Cache:
        caches.clear(kind)
    assert not (cache / "chunks.sqlite").exists()
    assert list((cache / "pictures").iterdir()) == []
    # A copy of another machine, where the folder is shared, may be on its way just now.
    assert left.exists()
