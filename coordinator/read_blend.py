"""What a .blend says of its scenes, read as data: run as a process of its own, under limits.

``python -m rendermill.coordinator.read_blend FILE FOLDER`` prints one line of JSON: the fields of
`BlendSummary`, or ``{"error": sentence}``. Nothing in the file is run and no Blender is needed;
`blender-asset-tracer` reads its structure. The file comes from a stranger: what it makes the
reader do is bounded by `LIMITS` of the process (where the system has them) and by its time.
``FOLDER`` takes the uncompressed copy of a compressed file.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import logging
import sys
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import zstandard
from blender_asset_tracer import blendfile

from ..protocol.drafts import SceneSummary

READ_SECONDS = 60.0
MEMORY_MAX_BYTES = 2 * 1024**3
EXPANDED_MAX_BYTES = 16 * 1024**3
"""Of a compressed .blend; also the largest file the process may write."""
PIECE_BYTES = 1024 * 1024
SCENES_MAX = 200
ANSWER_MAX_BYTES = 1024 * 1024
HEADER_BYTES = 12
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


class NotABlend(Exception):
    """The file cannot be read as a .blend; the message is one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlendSummary:
    """What the bytes say."""

    version: tuple[int, int]
    """Major and minor version of the Blender that saved it."""
    scene: str
    """The scene that was open."""
    scenes: tuple[SceneSummary, ...]


async def summarise(file: Path, folder: Path) -> BlendSummary:
    """Read ``file`` in a process of its own. Raises `NotABlend`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        __name__,
        str(file),
        str(folder),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        limit=ANSWER_MAX_BYTES,
    )
    try:
        async with asyncio.timeout(READ_SECONDS):
            output, _ = await process.communicate()
    except TimeoutError:
        raise NotABlend(
            f"{file.name} took longer than {READ_SECONDS:.0f} s to read; it is no ordinary .blend."
        ) from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    try:
        answer = json.loads(output)
        if "error" not in answer:
            return msgspec.convert(answer, BlendSummary)
    except (ValueError, msgspec.ValidationError):
        answer = {"error": "The file is no .blend that can be read: its structure is broken."}
    raise NotABlend(str(answer["error"])[:500])


def read(file: Path, folder: Path) -> BlendSummary:
    """Read ``file`` in this process. Raises `NotABlend`, and anything a broken file may cause."""
    plain = _uncompressed(file, folder)
    with plain.open("rb") as stream:
        head = stream.read(HEADER_BYTES)
    if not head.startswith(b"BLENDER"):
        raise NotABlend(f"{file.name} is no .blend: it does not begin like one.")
    blend = blendfile.BlendFile(plain)
    try:
        return _summary(blend)
    finally:
        blend.close()


def _summary(blend: Any) -> BlendSummary:
    version = int(blend.header.version)
    current = ""
    blocks: Any = blend.find_blocks_from_code(b"GLOB")
    for glob in blocks[:1]:
        scene: Any = glob.get_pointer(b"curscene", None)
        current = _name(scene) if scene is not None else ""
    found: Any = blend.find_blocks_from_code(b"SC\0\0") or blend.find_blocks_from_code(b"SC")
    scenes = tuple(_scene(block) for block in found[:SCENES_MAX])
    if not scenes:
        raise NotABlend("The .blend has no scene to render; it is a library of parts.")
    return BlendSummary(
        version=(version // 100, version % 100),
        scene=current or scenes[0].name,
        scenes=scenes,
    )


def _name(block: Any) -> str:
    return bytes(block.id_name or b"SC").decode("utf-8", "replace")[2:]


def _scene(block: Any) -> SceneSummary:
    def number(name: bytes) -> float:
        return block.get((b"r", name))

    percent = number(b"size") / 100
    base = number(b"frs_sec_base") or 1.0
    return SceneSummary(
        name=_name(block),
        engine=str(block.get((b"r", b"engine"), as_str=True)),
        first=int(number(b"sfra")),
        last=int(number(b"efra")),
        step=int(number(b"frame_step")),
        width=int(number(b"xsch") * percent),
        height=int(number(b"ysch") * percent),
        fps=round(number(b"frs_sec") / base, 3),
    )


def _uncompressed(file: Path, folder: Path) -> Path:
    with file.open("rb") as source:
        magic = source.read(4)
        source.seek(0)
        if magic.startswith(_GZIP):
            stream: Any = gzip.GzipFile(fileobj=source)
        elif magic == _ZSTD:
            stream = zstandard.ZstdDecompressor().stream_reader(source, read_across_frames=True)
        else:
            return file
        target = folder / "uncompressed.blend"
        try:
            with target.open("xb") as out:
                _copy(stream, out)
        except (zlib.error, zstandard.ZstdError, EOFError, gzip.BadGzipFile) as error:
            raise NotABlend(f"{file.name} is damaged: it cannot be uncompressed.") from error
        return target


def _copy(source: Any, target: BinaryIO) -> None:
    length = 0
    while piece := source.read(PIECE_BYTES):
        length += len(piece)
        if length > EXPANDED_MAX_BYTES:
            raise NotABlend(
                f"The .blend expands to more than {EXPANDED_MAX_BYTES >> 30} GiB; save it without "
                "compression."
            )
        target.write(piece)


def _limit() -> None:
    if sys.platform == "win32":
        return  # No limits to set there; time is kept by whoever started this.
    import resource

    for kind, most in (
        (resource.RLIMIT_AS, MEMORY_MAX_BYTES),
        (resource.RLIMIT_FSIZE, EXPANDED_MAX_BYTES + PIECE_BYTES),
        (resource.RLIMIT_CPU, int(READ_SECONDS)),
        (resource.RLIMIT_CORE, 0),
    ):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (most, most))


def main(arguments: list[str]) -> int:
    """Print what a file says."""
    logging.disable()
    _limit()
    file, folder = Path(arguments[0]), Path(arguments[1])
    try:
        answer: dict[str, Any] = asdict(read(file, folder))
    except NotABlend as error:
        answer = {"error": str(error)}
    except MemoryError:
        answer = {"error": f"{file.name} is no ordinary .blend: it takes too much memory to read."}
    except Exception:  # noqa: BLE001 - a broken file breaks its reader in any way it likes
        answer = {"error": f"{file.name} is damaged or cut short: it cannot be read as a .blend."}
    sys.stdout.write(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
