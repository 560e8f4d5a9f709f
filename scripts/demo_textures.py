"""The pictures of the demo scene, computed: stone, planks, shingles, grass and a film of a sea.

Every picture follows from its size and a fixed seed, so two runs write the same bytes. Arrays have
the shape (height, width, 3), row 0 at the top, display-referred values from 0 to 1.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.float64]

PICTURE_WIDTH, PICTURE_HEIGHT = 192, 108
"""Pixels of one picture of the sequence that the flying tiles carry."""

_SIZE = 256


def write_textures(folder: Path) -> None:
    """Write the still textures of the mill: ``stone.png``, ``planks.png``, ``shingles.png``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in (("stone", _stone()), ("planks", _planks()), ("shingles", _shingles())):
        write_png(folder / f"{name}.png", picture)


def write_grass(path: Path) -> None:
    """Write the texture of the meadow."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, _grass())


def write_sequence(folder: Path, count: int) -> Path:
    """Write ``picture_0001.png`` to ``count`` pictures; return the first."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, count + 1):
        write_png(folder / f"picture_{number:04d}.png", _sea(number / 24.0))
    return folder / "picture_0001.png"


def write_png(path: Path, picture: Picture) -> None:
    """Write an 8-bit RGB PNG; the same picture always gives the same bytes."""
    height, width, _ = picture.shape
    pixels = np.clip(picture * 255.0 + 0.5, 0, 255).astype(np.uint8)
    # Each row begins with its filter type; 0 is "none".
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n"
    for kind, body in (
        (b"IHDR", header),
        (b"IDAT", zlib.compress(rows.tobytes(), 9)),
        (b"IEND", b""),
    ):
        data += struct.pack(">I", len(body)) + kind + body
        data += struct.pack(">I", zlib.crc32(kind + body))
    path.write_bytes(data)


def _noise(seed: int, size: int, cells: int) -> Picture:
    """Smooth noise that repeats at the borders, shape (size, size), values from 0 to 1."""
    lattice = np.random.default_rng(seed).random((cells, cells))
    position = np.arange(size) * cells / size
    low = position.astype(int)
    part = position - low
    part = part * part * (3 - 2 * part)
    high = (low + 1) % cells
    top = lattice[low][:, low] * (1 - part) + lattice[low][:, high] * part
    bottom = lattice[high][:, low] * (1 - part) + lattice[high][:, high] * part
    return top * (1 - part[:, None]) + bottom * part[:, None]


def _clouds(seed: int, size: int, cells: int) -> Picture:
    """Noise of four octaves, values around 0.5."""
    layers = [_noise(seed + i, size, cells << i) / (1 << i) for i in range(4)]
    return np.sum(layers, axis=0) / 1.875


def _tint(value: Picture, dark: str, light: str) -> Picture:
    """Mix two colours (``rrggbb``) by a value from 0 to 1."""
    a, b = (np.array([int(c[i : i + 2], 16) for i in (0, 2, 4)]) / 255.0 for c in (dark, light))
    return a + (b - a) * np.clip(value, 0, 1)[..., None]


def _stone() -> Picture:
    """Whitewashed courses of stone, with joints."""
    row, column = np.mgrid[0:_SIZE, 0:_SIZE]
    course = row // 32
    along = column + (course % 2) * 32
    joint = (row % 32 < 2) | (along % 64 < 2)
    block = np.random.default_rng(11).random((8, 5))[course % 8, (along // 64) % 5]
    value = 0.55 + 0.3 * block + 0.3 * (_clouds(3, _SIZE, 8) - 0.5)
    return _tint(np.where(joint, value * 0.55, value), "8d7f70", "f6ecdc")


def _planks() -> Picture:
    """Boards along the vertical, with grain."""
    row, column = np.mgrid[0:_SIZE, 0:_SIZE]
    board = column // 32
    tone = np.random.default_rng(5).random(8)[board % 8]
    grain = np.sin(column * 0.9 + 9 * _clouds(7, _SIZE, 4) + row * 0.02 + board * 2.1)
    value = 0.35 + 0.4 * tone + 0.12 * grain
    return _tint(np.where(column % 32 < 2, 0.0, value), "3b2416", "b37a45")


def _shingles() -> Picture:
    """Rows of rounded shingles, each with a tone of its own."""
    row, column = np.mgrid[0:_SIZE, 0:_SIZE]
    course = row // 32
    along = column + (course % 2) * 16
    across = (along % 32) / 16.0 - 1.0
    lower_edge = 24 + 7 * np.sqrt(np.clip(1 - across**2, 0, 1))
    tone = np.random.default_rng(23).random((8, 9))[course % 8, (along // 32) % 9]
    value = 0.35 + 0.5 * tone - 0.35 * (row % 32 > lower_edge) + 0.2 * _noise(9, _SIZE, 32)
    return _tint(value, "4a1512", "d0603c")


def _grass() -> Picture:
    """Patches of green with blades."""
    blades = _noise(41, _SIZE, 128)
    value = 0.75 * _clouds(31, _SIZE, 4) + 0.35 * blades
    return _tint(value, "2d4a17", "a9bf4f")


def _sea(seconds: float) -> Picture:
    """One picture of the sequence: a sun over moving waves."""
    y, x = np.mgrid[0:PICTURE_HEIGHT, 0:PICTURE_WIDTH]
    u = x / PICTURE_WIDTH * 16 / 9
    v = y / PICTURE_HEIGHT
    sun = np.hypot(u - 0.95, v - (0.46 - 0.06 * np.sin(seconds)))
    sky = _tint(v * 1.6, "2b1d5c", "ff9a56")
    sky += _tint(np.exp(-4.5 * sun), "000000", "ff8a5c") * 0.8
    sky = np.where((sun < 0.19)[..., None], _tint((0.6 - v) * 3, "ff5d5d", "ffe9a0"), sky)
    hills = 0.56 - 0.09 * np.abs(np.sin(u * 2.6 + 0.6)) - 0.03 * np.sin(u * 7.0 + 2.0)
    land = _tint((v - hills) * 5, "4a2f86", "8a3f86")
    picture = np.where((v > hills)[..., None], land, sky)
    depth = np.clip((v - 0.6) / 0.4, 0, 1)
    wave = np.sin(40 * np.sqrt(depth + 0.02) - 3.0 * seconds + 1.3 * np.sin(6 * u + seconds))
    path = np.exp(-((u - 0.95) ** 2) / (0.01 + 0.08 * depth))
    water = _tint(depth, "c04f7c", "15275c") + 0.10 * wave[..., None]
    glints = _tint(np.clip(path * (0.55 + 0.75 * wave), 0, 1), "000000", "ffc46b")
    return np.where((v > 0.6)[..., None], water + glints, picture)
