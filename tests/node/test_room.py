"""Disks without room: when one counts as full, what is said, and what becomes of frames."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from rendermill.node.outbox import OutboxError
from rendermill.node.room import (
    REFUSED_SECONDS,
    Room,
    is_for_lack_of_room,
    is_of_a_broken_disk,
)

RESERVE = 128 * 1024**2
AGAIN = 160 * 1024**2
KEY = ("job-1", 0, 1)


class Disk:
    """One disk under a `Room`; both folders lie on it."""

    def __init__(self, folder: Path) -> None:
        self.free = 10 * RESERVE
        self.now = 0.0
        self.room = Room(
            {"the node's frames": folder, "its scene cache": folder / "cache"},
            reserve_bytes=RESERVE,
            measure=lambda _: self.free,
            clock=lambda: self.now,
        )
        (folder / "cache").mkdir()

    def look(self) -> str:
        return self.room.judge(self.room.measure())


def names(folder: Path) -> list[str]:
    """What lies in a folder."""
    return [entry.name for entry in folder.iterdir()]


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


def test_folders_of_one_disk_are_one_sentence(disk: Disk, tmp_path: Path) -> None:
    assert disk.look() == ""
    disk.free = 12 * 1024**2 + 17
    assert disk.look() == (
        f"The disk of the node's frames and its scene cache ({tmp_path}) is full: 12 MiB free of "
        "the 160 MiB it needs; free some and the node goes on by itself."
    )


def test_it_does_not_flutter_at_the_reserve(disk: Disk) -> None:
    disk.free = RESERVE
    assert disk.look() == ""
    disk.free = RESERVE - 1
    assert disk.look() != ""
    disk.free = AGAIN - 1
    assert disk.look() != ""
    disk.free = AGAIN
    assert disk.look() == ""
    disk.free = RESERVE
    assert disk.look() == ""


def test_the_sentence_is_another_only_when_much_has_changed(disk: Disk) -> None:
    disk.free = 50 * 1024**2
    said = disk.look()
    disk.free += 15 * 1024**2
    assert disk.look() == said
    disk.free += 1024**2
    assert "66 MiB free" in disk.look()


def test_errors_of_a_full_disk_are_known_by_what_they_were_raised_from() -> None:
    for number in (errno.ENOSPC, errno.EDQUOT):
        error = OutboxError("Full.")
        error.__cause__ = OSError(number, "no room")
        assert is_for_lack_of_room(error)
    assert not is_for_lack_of_room(OSError(errno.EIO, "broken"))
    assert not is_for_lack_of_room(OutboxError("Other."))


def test_errors_of_a_broken_disk_are_known_by_what_they_were_raised_from() -> None:
    for number in (errno.EIO, errno.EROFS, errno.ENODEV):
        error = OutboxError("Broken.")
        error.__cause__ = OSError(number, "broken")
        assert is_of_a_broken_disk(error)
    assert not is_of_a_broken_disk(OSError(errno.ENOSPC, "no room"))
    assert not is_of_a_broken_disk(OSError(errno.ENOENT, "gone"))


async def test_a_disk_that_reported_an_error_is_broken_for_good(disk: Disk, tmp_path: Path) -> None:
    woken: list[bool] = []
    disk.room.on_refused = lambda: woken.append(True)
    error = OutboxError("The finished frame could not be kept.")
    error.__cause__ = OSError(errno.EIO, "Input/output error")
    said = await disk.room.reason_to_return(KEY, error, tmp_path / "output")
    assert said.startswith("The finished frame could not be kept. Nothing can be relied on there")
    assert "started again" in said
    assert woken
    disk.now += 100 * REFUSED_SECONDS
    assert disk.look() == said
    # Full as well: both are said.
    disk.free = 0
    assert disk.look().startswith(said + " The disk of")


async def test_what_blender_cannot_write_is_found_by_trying(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blender tells no error numbers; the disk does."""

    def fsync(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("rendermill.node.room.os.fsync", fsync)
    said = await disk.room.reason_to_return(KEY, ValueError("no file"), tmp_path / "output")
    assert said.startswith(f"{tmp_path} cannot be written: Input/output error. Nothing can")
    assert names(tmp_path) == ["cache"]


async def test_with_room_a_failure_is_the_frames_own(disk: Disk, tmp_path: Path) -> None:
    output = tmp_path / "output"
    output.mkdir()
    assert await disk.room.reason_to_return(KEY, ValueError("bad"), output) == ""
    assert output.exists()
    assert disk.look() == ""


async def test_on_a_full_disk_a_frame_goes_back_however_often(disk: Disk, tmp_path: Path) -> None:
    disk.free = 0
    for _ in range(3):
        assert "is full: 0 MiB" in await disk.room.reason_to_return(
            KEY, ValueError(), tmp_path / "o"
        )


async def test_what_was_told_of_a_full_disk_is_seen_by_the_next_look(
    disk: Disk, tmp_path: Path
) -> None:
    """The farm was told: somebody must see it, to take it back."""
    woken: list[bool] = []
    disk.room.on_refused = lambda: woken.append(True)
    disk.free = 0
    assert await disk.room.reason_to_return(KEY, ValueError(), tmp_path / "output")
    assert woken
    disk.free = 10 * RESERVE
    assert disk.look() != ""
    assert disk.look() == ""


async def test_a_quota_counts_for_a_while_whatever_seems_free(disk: Disk, tmp_path: Path) -> None:
    error = OSError(errno.EDQUOT, "no room")
    assert "look for a quota" in await disk.room.reason_to_return(KEY, error, tmp_path / "output")
    assert disk.look()
    disk.now += REFUSED_SECONDS - 1
    assert disk.look()
    disk.now += 1
    assert disk.look() == ""


async def test_a_frame_that_twice_fills_the_disk_by_itself_has_failed(tmp_path: Path) -> None:
    output = tmp_path / "output"
    room = Room(
        {"the node's frames": tmp_path},
        reserve_bytes=RESERVE,
        measure=lambda _: 0 if output.exists() else AGAIN,
    )
    output.mkdir()
    assert await room.reason_to_return(KEY, ValueError(), output)
    assert not output.exists()
    output.mkdir()
    assert await room.reason_to_return(("job-1", 0, 2), ValueError(), output)
    output.mkdir()
    assert await room.reason_to_return(KEY, ValueError(), output) == ""
