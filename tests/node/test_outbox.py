"""What is in the outbox is whole, and stays until it is dropped."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from rendermill.node.outbox import Made, Outbox, OutboxError, bounded_log
from rendermill.protocol.messages import FrameStats

from .coordinator import ref


def put(outbox: Outbox, folder: Path, frame: int, data: bytes = b"pixels"):
    source = folder / f"made-{frame}.png"
    source.write_bytes(data)
    small = folder / f"small-{frame}.jpg"
    small.write_bytes(b"small")
    return outbox.put(
        ref(frame),
        [Made("main", "shot.png", source)],
        stats=FrameStats(seconds=1.5),
        thumbnail=small,
        log=("a line",),
        warnings=("a warning",),
    )


def test_a_later_process_finds_what_was_put(tmp_path: Path) -> None:
    parcel = put(Outbox(tmp_path / "out"), tmp_path, 1)
    assert not (tmp_path / "made-1.png").exists()
    parcels, problems = Outbox(tmp_path / "out").load()
    assert (parcels, problems) == ([parcel], [])
    assert [
        (path.read_bytes(), sha256 == hashlib.sha256(path.read_bytes()).hexdigest(), length)
        for path, sha256, length in parcel.blobs()
    ] == [(b"pixels", True, 6), (b"small", True, 5)]


def test_the_same_frame_again_replaces_the_first(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "out")
    put(outbox, tmp_path, 1)
    newer = put(outbox, tmp_path, 1, b"newer pixels")
    assert outbox.load()[0] == [newer]


def test_what_never_got_its_name_or_lost_bytes_is_removed(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "out")
    good = put(outbox, tmp_path, 1)
    short = put(outbox, tmp_path, 2)
    (short.folder / "0").write_bytes(b"")
    broken = put(outbox, tmp_path, 3)
    (broken.folder / "record").write_bytes(b"{")
    (outbox.folder / ".half").mkdir()
    parcels, problems = outbox.load()
    assert parcels == [good]
    assert len(problems) == 2
    assert [path.name for path in outbox.folder.iterdir()] == [good.folder.name]


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("name", ["0", "thumbnail", "record"])
@pytest.mark.parametrize(
    "damage",
    [_flip, lambda path: os.truncate(path, path.stat().st_size - 1), lambda p: os.truncate(p, 0)],
    ids=["bit", "short", "empty"],
)
def test_what_the_disk_has_damaged_is_not_offered(tmp_path: Path, name: str, damage) -> None:
    outbox = Outbox(tmp_path / "out")
    good = put(outbox, tmp_path, 1)
    damage(put(outbox, tmp_path, 2).folder / name)
    parcels, problems = outbox.load()
    assert parcels == [good]
    assert len(problems) == 1
    assert "damaged and was dropped" in problems[0]
    assert outbox.load() == ([good], [])


def test_dropped_is_gone(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "out")
    parcel = put(outbox, tmp_path, 1)
    outbox.drop(parcel)
    outbox.drop(parcel)
    assert list(outbox.folder.iterdir()) == []


def test_a_file_that_is_not_there_or_has_a_bad_name_is_a_sentence(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "out")
    source = tmp_path / "a.png"
    for made in (Made("main", "a.png", source), Made("main", "../a.png", source)):
        with pytest.raises(OutboxError, match="could not be kept"):
            outbox.put(ref(1), [made], stats=FrameStats(seconds=1.0))
        source.write_bytes(b"x")
    assert list(outbox.folder.iterdir()) == []


def test_a_long_log_keeps_its_end() -> None:
    kept = bounded_log(tuple(f"{number}" * 3000 for number in range(300)))
    assert len(kept) == 200
    assert all(len(line) <= 2000 for line in kept)
    assert kept[-1].startswith("299")


def test_a_name_typed_on_a_mac_is_kept_in_the_form_that_travels(tmp_path: Path) -> None:
    source = tmp_path / "made.png"
    source.write_bytes(b"pixels")
    decomposed = "scho\u0308n_0001.png"
    outbox = Outbox(tmp_path / "out")
    parcel = outbox.put(ref(1), [Made("main", decomposed, source)], stats=FrameStats(seconds=1.0))
    assert [file.path for file in parcel.done.files] == ["sch\u00f6n_0001.png"]
