"""A file that is not what was asked for is found, whatever Blender said about it."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from PIL import Image
from rendermill.node.blender import checks
from rendermill.protocol.job import FrameImage, OutputRoot

MAIN = OutputRoot(id="main", label="Render output", folder="/nowhere", name="f_")
PASSES = OutputRoot(id="out1", label="Passes", folder="/nowhere", node="Passes")
IMAGE = FrameImage(width=8, height=20, file_format="PNG")


def write_png(path: Path, size: tuple[int, int] = (8, 20), mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise(size, 50).convert(mode).save(path)
    return path


def write_exr(path: Path, width: int = 8, height: int = 20, *, compression: int = 3) -> Path:
    """An OpenEXR file of scan lines by the specification; the payloads are not decoded here."""
    path.parent.mkdir(parents=True, exist_ok=True)
    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    attributes = (
        (b"channels", b"chlist", b"R\0" + struct.pack("<iiii", 2, 0, 1, 1) + b"\0"),
        (b"compression", b"compression", bytes([compression])),
        (b"dataWindow", b"box2i", window),
        (b"displayWindow", b"box2i", window),
    )
    head = struct.pack("<II", 20000630, 2)
    for name, kind, value in attributes:
        head += name + b"\0" + kind + b"\0" + struct.pack("<I", len(value)) + value
    head += b"\0"
    lines = {0: 1, 3: 16, 9: 256}[compression]
    chunks = [struct.pack("<iI", y, 40) + bytes(40) for y in range(0, height, lines)]
    position = len(head) + 8 * len(chunks)
    offsets = [position + 48 * index for index in range(len(chunks))]
    path.write_bytes(head + struct.pack(f"<{len(chunks)}Q", *offsets) + b"".join(chunks))
    return path


@pytest.mark.parametrize("compression", [0, 3, 9])
def test_a_whole_exr(tmp_path, compression):
    path = write_exr(tmp_path / "f.exr", compression=compression)
    assert checks.check_picture(path) == (8, 20)


@pytest.mark.parametrize("kept", [0, 3, 8, 40, 150, -1])
def test_a_cut_exr(tmp_path, kept):
    path = write_exr(tmp_path / "f.exr")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(checks.BadOutput, match=r"f\.exr"):
        checks.check_picture(path)


def test_an_exr_that_was_never_finished(tmp_path):
    path = write_exr(tmp_path / "f.exr")
    data = bytearray(path.read_bytes())
    at = data.index(struct.pack("<iI", 0, 40)) - 8
    data[at : at + 8] = bytes(8)
    path.write_bytes(data)
    with pytest.raises(checks.BadOutput, match="cut short"):
        checks.check_picture(path)


@pytest.mark.parametrize("kept", [0, 20, 100, -20])
def test_a_cut_png(tmp_path, kept):
    path = write_png(tmp_path / "f.png")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(checks.BadOutput, match=r"f\.png"):
        checks.check_picture(path)


def test_a_file_that_is_no_picture(tmp_path):
    path = tmp_path / "f.png"
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(checks.BadOutput, match="no picture"):
        checks.check_picture(path)


def test_files_are_sorted_into_their_roots(tmp_path):
    write_png(tmp_path / "main" / "f_0001.png")
    write_exr(tmp_path / "out1" / "deep" / "z_0001.exr", 3, 3)
    files = checks.collect(tmp_path, (MAIN, PASSES), IMAGE)
    assert [(file.root, file.path) for file in files] == [
        ("main", "f_0001.png"),
        ("out1", "deep/z_0001.exr"),
    ]


def test_a_root_without_files(tmp_path):
    write_png(tmp_path / "main" / "f_0001.png")
    with pytest.raises(checks.BadOutput, match='no file for "Passes"'):
        checks.collect(tmp_path, (MAIN, PASSES), IMAGE)
    assert len(checks.collect(tmp_path, (MAIN, PASSES), IMAGE, silent=frozenset({"out1"}))) == 1


def test_the_size_of_two_views_in_one_picture(tmp_path):
    write_png(tmp_path / "main" / "f_0001.png", (16, 20))
    with pytest.raises(checks.BadOutput, match="16 x 20 pixels instead of 8 x 20"):
        checks.collect(tmp_path, (MAIN,), IMAGE)
    assert checks.collect(tmp_path, (MAIN,), IMAGE, stereo_3d=True)


def test_a_stereo_view_that_is_missing(tmp_path):
    write_png(tmp_path / "main" / "f_0001_L.png")
    views = FrameImage(width=8, height=20, file_format="PNG", views=("_L", "_R"))
    with pytest.raises(checks.BadOutput, match='"_R" is missing'):
        checks.collect(tmp_path, (MAIN,), views)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "I;16"])
def test_thumbnails(tmp_path, mode):
    source = tmp_path / "large.png"
    picture = Image.new(mode, (1600, 400), None if mode != "I;16" else 30000)
    picture.save(source)
    small = checks.make_thumbnail(source, tmp_path / "small.jpg")
    assert small is not None
    with Image.open(small) as made:
        assert (made.format, made.size, made.mode) == ("JPEG", (512, 128), "RGB")
        if mode == "I;16":
            assert abs(made.getpixel((9, 9))[0] - 30000 // 256) <= 2


def test_no_thumbnail_of_what_cannot_be_shown(tmp_path):
    assert checks.make_thumbnail(write_exr(tmp_path / "f.exr"), tmp_path / "small.jpg") is None
    assert not (tmp_path / "small.jpg").exists()
