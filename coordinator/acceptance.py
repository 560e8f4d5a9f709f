"""May this job be taken? Everything that can be known to fail is said before it is accepted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..protocol.codec import CodecError, decode_manifest, encode_message, is_sha256
from ..protocol.frames import FrameRangeError, format_frames, frame_sequence, frame_step
from ..protocol.job import PRIORITY_MAX, PRIORITY_MIN, Capability, JobSpec
from ..protocol.manifest import MANIFEST_MAX_BYTES, Manifest, ManifestError, check_path
from ..protocol.messages import MESSAGE_MAX_BYTES, Assign
from ..protocol.views import JobSubmission
from .farm.changing import check_change
from .images import FORMATS
from .results import MAIN
from .store.blobs import BlobStore

NAME_MAX_CHARS = 200
OUTPUTS_MAX = 200
ROOTS_MAX = 50
DEPENDENCIES_MAX = 100
SPEC_MAX_BYTES = MESSAGE_MAX_BYTES // 2
"""Longest spec as msgpack: it travels to nodes in one message, with what it is told beside it."""
IMAGE_SIDE_MAX_PIXELS = 65_536
"""Blender's own limit of a render side."""

ENGINES = ("CYCLES", "BLENDER_EEVEE_NEXT", "BLENDER_EEVEE", "BLENDER_WORKBENCH")

FRAME_RATE_MAX = 120_000.0
"""Blender's largest number of frames a second over its smallest base."""
FILM_FRAME_FORMATS = ("PNG", "OPEN_EXR")
"""Lossless, and read back by Blender as they were written."""

_LEADS_AWAY = re.compile(r"[\\\0]|(^|/)[A-Za-z]:")
"""A backslash or a drive is a way to elsewhere on a node with Windows."""
_OUTPUT_ID = re.compile(r"main|out[0-9]{1,6}")


class NotAcceptable(Exception):
    """A job that cannot be taken; the message says why and what to do."""


class ChunksMissing(Exception):
    """Parts of the scene are not here; they are to be uploaded first."""

    def __init__(self, missing: list[str]) -> None:
        super().__init__(
            f"{len(missing)} parts of the scene are not on the coordinator; upload them and submit "
            "the job again."
        )
        self.missing = missing


@dataclass(frozen=True, slots=True)
class Scene:
    """The size of an accepted scene."""

    length: int
    files: int


def check_spec(spec: JobSpec) -> JobSpec:
    """Return the spec with its frame range in canonical form.

    Raises `NotAcceptable` for one that no node can render.
    """
    if not spec.name.strip() or len(spec.name) > NAME_MAX_CHARS:
        raise NotAcceptable(f"A job needs a name of 1 to {NAME_MAX_CHARS} characters.")
    try:
        frames = frame_sequence(spec.frames)
    except FrameRangeError as error:
        raise NotAcceptable(str(error)) from error
    if spec.requires.engine not in ENGINES:
        raise NotAcceptable(
            f"No node renders with the engine {spec.requires.engine[:40]!r}; choose Cycles, EEVEE "
            "or Workbench in the render properties."
        )
    if not PRIORITY_MIN <= spec.priority <= PRIORITY_MAX:
        raise NotAcceptable(f"A priority lies between {PRIORITY_MIN} and {PRIORITY_MAX}.")
    try:
        check_change(
            tags=spec.requires.tags,
            nodes=spec.requires.nodes,
            max_nodes=spec.max_nodes,
            memory_bytes=spec.requires.memory_bytes,
            limits=spec.limits,
        )
    except ValueError as error:
        raise NotAcceptable(str(error)) from error
    if len(spec.depends_on) > DEPENDENCIES_MAX:
        raise NotAcceptable(f"A job may depend on at most {DEPENDENCIES_MAX} others.")
    _check_image(spec)
    _check_film(spec, frames)
    _check_places(spec)
    spec = replace(spec, frames=format_frames(frames))
    _check_length(spec)
    return spec


def _check_film(spec: JobSpec, frames: Sequence[int]) -> None:
    film = spec.film
    if film is None:
        return
    try:
        check_path(film.name)
    except ManifestError as error:
        raise NotAcceptable(f"The film has a name that is not safe: {error}") from error
    if not 0 < film.fps <= FRAME_RATE_MAX:
        raise NotAcceptable(
            f"A film has more than 0 and at most {FRAME_RATE_MAX:g} frames a second."
        )
    if frame_step(frames) is None:
        raise NotAcceptable(
            "A film is made of an unbroken range of frames, or of every n-th of one; submit such a "
            "range, or choose an image format in the output properties."
        )
    if spec.image.file_format not in FILM_FRAME_FORMATS or spec.image.views:
        raise NotAcceptable(
            "The frames of a film are rendered as PNG or OpenEXR with one view; choose an image "
            "format in the output properties."
        )
    if Capability.FFMPEG not in spec.requires.capabilities:
        raise NotAcceptable(
            "A job that asks for a film needs nodes with FFmpeg, and does not say so; submit it "
            "again with this version of Rendermill."
        )
    if not any(root.id == MAIN for root in spec.outputs):
        raise NotAcceptable("A job that asks for a film needs a render output.")


def _check_length(spec: JobSpec) -> None:
    try:
        length = len(encode_message(Assign(job="", frames=(), manifest="", spec=spec)))
    except CodecError:
        length = MESSAGE_MAX_BYTES
    if length > SPEC_MAX_BYTES:
        raise NotAcceptable(
            f"The settings of the job take more than {SPEC_MAX_BYTES // 1024} KiB; name fewer view "
            "layers, outputs or single frames, or split the job."
        )


def _check_image(spec: JobSpec) -> None:
    image = spec.image
    if image.file_format not in FORMATS:
        raise NotAcceptable(
            f"The farm does not render to {image.file_format[:40]!r}; choose a still image format "
            "in the output properties."
        )
    if not all(0 < side <= IMAGE_SIDE_MAX_PIXELS for side in (image.width, image.height)):
        raise NotAcceptable(
            f"A frame of {image.width} x {image.height} pixels cannot be rendered; set the "
            "resolution in the output properties."
        )


def _check_places(spec: JobSpec) -> None:
    if not 0 < len(spec.outputs) <= OUTPUTS_MAX or len(spec.roots) > ROOTS_MAX:
        raise NotAcceptable(
            f"A job has 1 to {OUTPUTS_MAX} outputs and at most {ROOTS_MAX} scene folders."
        )
    ids = [root.id for root in spec.outputs]
    for name in ids:
        if not _OUTPUT_ID.fullmatch(name):
            raise NotAcceptable(f'The output id {name[:40]!r} is not "main" or "out" and a number.')
        if ids.count(name) > 1:
            raise NotAcceptable(f"The output {name!r} is listed twice.")
    for root in spec.outputs:
        if ".." in root.name.split("/") or _LEADS_AWAY.search(root.name):
            raise NotAcceptable(
                f"The output name {root.name[:80]!r} leads out of its folder; write it without "
                '"..", drives and backslashes.'
            )
    paths = [root.path.casefold() for root in spec.roots]
    for path in (spec.blend, *(root.path for root in spec.roots)):
        try:
            check_path(path)
        except ManifestError as error:
            raise NotAcceptable(str(error)) from error
    if len(set(paths)) < len(paths):
        raise NotAcceptable("Two folders of the scene stand in the same place of the job's tree.")


def check_scene(submission: JobSubmission, blobs: BlobStore) -> Scene:
    """Check that the whole scene is here and make it durable.

    Raises `NotAcceptable`, `ChunksMissing`, `store.StoreFailed`. Blocks.
    """
    if not is_sha256(submission.manifest):
        raise NotAcceptable("The manifest's name is not a SHA-256 in 64 lower-case hex digits.")
    if blobs.missing((submission.manifest,)):
        raise ChunksMissing([submission.manifest])
    manifest = read_manifest(submission.manifest, blobs)
    if submission.spec.blend not in (file.path for file in manifest.files):
        raise NotAcceptable(f"The scene {submission.spec.blend!r} is not among the files sent.")
    colours = submission.spec.colour_configuration
    if not (colours.startswith("ocio://") or colours in ("", *(f.path for f in manifest.files))):
        raise NotAcceptable(f"The colour configuration {colours!r} is not among the files sent.")
    chunks = manifest.blobs()
    missing = blobs.missing(chunks)
    if missing:
        raise ChunksMissing(missing)
    for name, length in chunks.items():
        found = blobs.measure(name, length)
        if found is None:
            raise ChunksMissing([name])
        if found != length:
            raise NotAcceptable(f"The part {name} of the scene has another length than announced.")
    blobs.make_durable((submission.manifest, *chunks))
    return Scene(manifest.length, len(manifest.files))


def read_manifest(name: str, blobs: BlobStore) -> Manifest:
    """Return the manifest kept as blob ``name``. Raises `NotAcceptable`. Blocks."""
    if (blobs.length(name) or 0) > MANIFEST_MAX_BYTES:
        raise NotAcceptable("The manifest of the scene is too long.")
    try:
        return decode_manifest(blobs.read(name))
    except (CodecError, ManifestError) as error:
        raise NotAcceptable(f"The manifest of the scene cannot be read: {error}") from error
