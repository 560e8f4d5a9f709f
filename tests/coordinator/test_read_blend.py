"""A .blend read as data: real files of several Blenders, and files made to hurt."""

from __future__ import annotations

import gzip
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from rendermill.coordinator import read_blend
from rendermill.coordinator.read_blend import NotABlend, read, summarise

BLOCK = struct.Struct("<4siQii")


def bogus(*blocks: tuple[bytes, int, bytes]) -> bytes:
    """A file with the head of a .blend, and blocks: a code, the length they claim, bytes."""
    data = b"BLENDER-v405"
    for code, length, payload in blocks:
        data += BLOCK.pack(code, length, 1, 0, 1) + payload
    return data


HURTFUL: dict[str, bytes] = {
    "empty": b"",
    "text": b"<html>not a scene</html>" * 50,
    "head alone": b"BLENDER-v405",
    "strange version": b"BLENDER-v9x5" + b"\0" * 200,
    "cut short": bogus((b"DNA1", 400, b"SDNANAME")),
    "gigantic block": bogus((b"DATA", 2**31 - 1, b"x")),
    "negative block": bogus((b"DATA", -64, b"x" * 64)),
    "no structure": bogus((b"ENDB", 0, b"")),
    "many empty blocks": bogus(*[(b"DATA", 0, b"")] * 1000),
    "torn gzip": gzip.compress(b"BLENDER-v405" * 1000)[:-20],
    "torn zstd": zstandard.compress(os.urandom(9000))[:-20],
    "packed twice": zstandard.compress(zstandard.compress(b"BLENDER-v405")),
}


@pytest.mark.parametrize("name", HURTFUL)
async def test_a_file_made_to_hurt_gives_one_sentence(tmp_path: Path, name: str) -> None:
    file = tmp_path / "shot.blend"
    file.write_bytes(HURTFUL[name])
    (tmp_path / "x").mkdir()
    with pytest.raises(NotABlend) as refused:
        await summarise(file, tmp_path / "x")
    sentence = str(refused.value)
    assert sentence.endswith(".")
    assert "Traceback" not in sentence


async def test_a_file_that_keeps_its_reader_busy_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_blend, "READ_SECONDS", 2.0)
    file = tmp_path / "shot.blend"
    # Two thousand million names, none of which is there.
    names = b"SDNANAME" + struct.pack("<i", 2**31 - 1) + bytes(52)
    file.write_bytes(bogus((b"DNA1", 64, names)))
    with pytest.raises(NotABlend, match="took longer than 2 s"):
        await summarise(file, tmp_path)


def test_what_expands_without_end_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_blend, "EXPANDED_MAX_BYTES", 4 * 1024**2)
    for number, pack in enumerate((gzip.compress, zstandard.compress)):
        file = tmp_path / f"{number}.blend"
        file.write_bytes(pack(bytes(32 * 1024**2)))
        folder = tmp_path / str(number)
        folder.mkdir()
        with pytest.raises(NotABlend, match="expands to more than"):
            read(file, folder)
        assert sum(one.stat().st_size for one in folder.iterdir()) <= 4 * 1024**2


@pytest.mark.parametrize("compressed", [False, True])
async def test_scenes_ranges_sizes_and_engines_are_read(
    tmp_path: Path, saved_blend: Callable[[bool], Path], compressed: bool
) -> None:
    summary = await summarise(saved_blend(compressed), tmp_path)
    assert summary.version == (4, 5)
    assert summary.scene == "Shot <b>🎬</b>"
    by_name = {scene.name: scene for scene in summary.scenes}
    assert set(by_name) == {"Scene", "Shot <b>🎬</b>"}
    shot = by_name["Shot <b>🎬</b>"]
    assert (shot.first, shot.last, shot.step) == (2, 12, 5)
    assert (shot.width, shot.height, shot.fps) == (32, 24, 29.97)
    assert by_name["Scene"].engine == "BLENDER_EEVEE_NEXT"
    assert shot.engine == "CYCLES"
