"""Small real file systems: memory that fills up, and an ext4 image whose disk can be copied.

Each needs root and mounts; where they cannot be had the test says so and is skipped. Whatever was
mounted is gone afterwards, lazily where a process still holds it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

COMMAND_SECONDS = 120
EXT4_IOC_SHUTDOWN = 0x8004587D
"""``_IOR('X', 125, __u32)``: Linux 4.11, fs/ext4/ext4.h."""
EXT4_GOING_FLAGS_NOLOGFLUSH = 2
"""What lies in the journal and not yet on the disk is lost, as by a device that is gone."""


def command(*words: str | Path) -> str:
    """Run a system program and return what it printed; an AssertionError when it fails."""
    done = subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
        env={**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin", "LC_ALL": "C"},
    )
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout.strip()


def _require(*programs: str) -> None:
    if sys.platform != "linux":
        pytest.skip("mounts of this kind exist on Linux only")
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    for program in programs:
        if shutil.which(program, path=path) is None:
            pytest.skip(f"there is no {program}")


@contextlib.contextmanager
def _mounted(where: Path, *words: str | Path) -> Iterator[Path]:
    where.mkdir(parents=True)
    try:
        command("mount", *words, where)
    except AssertionError as error:
        pytest.skip(f"mounts are not permitted here: {error}")
    try:
        yield where
    finally:
        # Lazily: a process that is being killed may still have a file open on it.
        subprocess.run(["umount", "--lazy", where], check=False, timeout=COMMAND_SECONDS)


@contextlib.contextmanager
def small_disk(where: Path, size_bytes: int) -> Iterator[Path]:
    """Mount a disk of that many bytes (tmpfs)."""
    _require("mount", "umount")
    with _mounted(where, "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs") as folder:
        yield folder


@contextlib.contextmanager
def image_disk(image: Path, where: Path) -> Iterator[Path]:
    """Mount an ext4 image through a loop device, which goes with the mount."""
    _require("mount", "umount", "losetup")
    with _mounted(where, "-o", "loop", image) as folder:
        yield folder


def make_image(image: Path, size_bytes: int) -> None:
    """Make an empty ext4 file system in a file."""
    _require("mkfs.ext4")
    with image.open("xb") as file:
        file.truncate(size_bytes)
    command("mkfs.ext4", "-q", "-F", image)


def break_down(folder: Path) -> None:
    """Let a mounted ext4 disk report EIO for whatever is asked of it from now on."""
    import fcntl  # Only POSIX has it.

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.ioctl(handle, EXT4_IOC_SHUTDOWN, struct.pack("I", EXT4_GOING_FLAGS_NOLOGFLUSH))
    except OSError as error:
        pytest.skip(f"this kernel takes no ext4 down: {error.strerror}")
    finally:
        os.close(handle)


def free_bytes(folder: Path) -> int:
    """What a process of root may still write there."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def fill(folder: Path, leave_bytes: int = 0) -> Path:
    """Take all of a disk's room but ``leave_bytes``; the file to delete gives it back."""
    filler = folder / "filler"
    with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while (room := free_bytes(folder) - leave_bytes) > 0:
            file.write(bytes(min(room, 1 << 20)))
    return filler
