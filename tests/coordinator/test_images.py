"""Headers of images, as Blender itself writes them in every format the farm takes."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest
from rendermill.coordinator.images import FORMATS, read_header

WIDTH, HEIGHT = 137, 75
# JPEG 2000 has no picture smaller than its tiles.

SAVE = """
import os, sys
import bpy
folder, width, height = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
bpy.ops.wm.read_homefile(use_factory_startup=True)
scene = bpy.context.scene
scene.render.engine = "BLENDER_WORKBENCH"
image = bpy.data.images.new("i", width, height, float_buffer=True)
for file_format in sys.argv[4:]:
    try:
        scene.render.image_settings.file_format = file_format
    except TypeError:
        continue  # Not in this build.
    if file_format == "OPEN_EXR_MULTILAYER":
        scene.render.image_settings.file_format = "OPEN_EXR"
    image.save_render(os.path.join(folder, file_format), scene=scene)
sys.stdout.flush()
os._exit(0)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    subprocess.run(
        [sys.executable, "-c", SAVE, str(folder), str(WIDTH), str(HEIGHT), *FORMATS],
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=240,
    )
    return folder


def test_blender_writes_what_we_read(folder):
    written = {path.name for path in folder.iterdir()}
    assert {"PNG", "JPEG", "OPEN_EXR", "TIFF", "WEBP", "HDR", "BMP", "TARGA"} <= written
    for name in written:
        with (folder / name).open("rb") as file:
            header = read_header(file)
        assert header is not None, name
        assert header.format == FORMATS[name]
        assert (WIDTH, HEIGHT) in header.sizes, name


def test_cut_and_changed_headers_are_read_without_harm(folder):
    for path in folder.iterdir():
        data = path.read_bytes()
        for end in range(min(len(data), 200)):
            read_header(io.BytesIO(data[:end]))
            changed = bytearray(data[:4096])
            changed[end] ^= 0xFF
            read_header(io.BytesIO(changed))
