"""Where Blender would write, under which names, and what a finished frame looks like.

A node replaces the folder of each output by one of its own and lets Blender name the files, so
only the folders must be known here; what follows a folder (`OutputRoot.name`) stays as the artist
wrote it, with Blender's ``####`` and, since 4.5, its ``{blend_name}`` templates.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

import bpy

from ...protocol.frame_names import FRAME_DIGITS, numbered, padded
from ...protocol.frames import frame_step
from ...protocol.job import Film, FrameImage, OutputRoot
from . import compat

MAIN = "main"
STILL_OF_FILM_FORMAT = "PNG"
"""What pictures are rendered as that come as pictures although the output is a video."""

_FFMPEG_EXTENSIONS = {
    "MPEG1": (".mpg", ".mpeg"),
    "MPEG2": (".dvd", ".vob", ".mpg", ".mpeg"),
    "MPEG4": (".mp4", ".mpg", ".mpeg"),
    "AVI": (".avi",),
    "QUICKTIME": (".mov",),
    "DV": (".dv",),
    "OGG": (".ogv", ".ogg"),
    "MKV": (".mkv",),
    "FLASH": (".flv",),
    "WEBM": (".webm",),
    "H264": (".avi",),
    "XVID": (".avi",),
}
"""Endings that Blender accepts for a container; the first is the one it adds
(``get_file_extensions`` of ``movie_write.cc``)."""


def writes_film(scene: Any) -> bool:
    """Whether the scene's main output is a video file."""
    return scene.render.image_settings.file_format in compat.MOVIE_FORMATS


def split_output(value: str, library: Any | None = None) -> tuple[str, str]:
    """Return the constant folder of an output path and what follows it.

    The folder is absolute. What follows is a file name, '' after a separator, and from the first
    folder with a template on, folders too. ``library`` is the one that the node with the path comes
    from: ``//`` is relative to the open file all the same, only ``{blend_dir_lib}`` is not.
    """
    if compat.has_path_templates():
        for name, blend in (
            ("{blend_dir}", bpy.data.filepath),
            ("{blend_dir_lib}", library.filepath if library is not None else bpy.data.filepath),
        ):
            folder = os.path.dirname(bpy.path.abspath(blend)) if blend else ""
            value = value.replace(name, folder)
    windows = os.name == "nt"
    absolute = bpy.path.abspath(value)
    if windows or value.startswith("//"):
        absolute = absolute.replace("\\", "/")
    head, _, tail = absolute.rpartition("/")
    if compat.has_path_templates() and "{" in head:
        parts = head.split("/")
        first = next(index for index, part in enumerate(parts) if "{" in part)
        head, tail = "/".join(parts[:first]), "/".join([*parts[first:], tail])
    if not head:
        head = "/" if absolute.startswith("/") else os.curdir
    if head == os.curdir or not os.path.isabs(head):
        # What Blender does with it too: relative to the folder it was started in.
        head = os.path.join(os.getcwd(), head)
    return os.path.normpath(head), tail


def output_roots(scene: Any) -> tuple[OutputRoot, ...]:
    """Return the main output and one root for each File Output node that will write."""
    folder, name = split_output(scene.render.filepath)
    if writes_film(scene):
        name = _without_film_extension(scene, name)
    roots = [OutputRoot(id=MAIN, label="Render output", folder=folder, name=name)]
    for owner, node in file_output_nodes(scene):
        folder, name = node_output(node)
        roots.append(
            OutputRoot(
                id=f"out{len(roots)}",
                label=node.label or node.name,
                folder=folder,
                name=name,
                owner=owner,
                node=node.name,
            )
        )
    return tuple(roots)


def node_output(node: Any) -> tuple[str, str]:
    """Return folder and rest of a File Output node's path; the rest is '' for most nodes."""
    value = compat.file_output_folder(node)
    if not compat.file_output_has_name(node) and not value.endswith(("/", "\\")):
        value += "/"
    return split_output(value, node.id_data.library)


def file_output_nodes(scene: Any) -> tuple[tuple[str, Any], ...]:
    """Return (name of the node group or '', node) of every File Output node that will write.

    None where the compositor does not run. A group that is used twice is listed once.
    """
    tree = compat.compositor_tree(scene)
    if tree is None or not scene.render.use_compositing or compat.renders_sequencer(scene):
        return ()
    return tuple(_file_outputs(tree, "", set()))


def _file_outputs(tree: Any, owner: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    for node in tree.nodes:
        if node.mute:
            continue
        if compat.is_file_output(node):
            yield owner, node
        group = getattr(node, "node_tree", None)
        if node.type == "GROUP" and group is not None and group.as_pointer() not in seen:
            seen.add(group.as_pointer())
            yield from _file_outputs(group, group.name, seen)


def expected_files(scene: Any, frame: int) -> Iterator[tuple[str, str]]:
    """Yield (path, label of the writer) of what Blender would write here for a frame.

    Views of stereo scenes aside, since they never differ between writers. Templates that only
    Blender can read stay as they are.
    """
    if not writes_film(scene):
        try:
            yield os.path.abspath(scene.render.frame_path(frame=frame)), "Render output"
        except RuntimeError:  # a template that Blender cannot read; `checks` says so
            return
    for _, node in file_output_nodes(scene):
        label = node.label or node.name
        folder, name = node_output(node)
        multilayer = compat.is_multilayer_output(node)
        prefix = name + compat.file_output_name(node)
        for slot in [None] if multilayer else compat.file_output_slots(node):
            file_format = slot.file_format if slot else compat.MULTILAYER_FORMAT
            # Whatever the system, Blender takes both slashes for one.
            stem = (prefix + (slot.name if slot else "")).replace("\\", "/")
            path = os.path.join(folder, numbered(stem, frame)) + _EXTENSIONS.get(file_format, "")
            yield os.path.normpath(path), f'File Output node "{label}"'


def frame_pattern(scene: Any) -> str:
    """Return the name of a frame's file below the folder of the main output, extension included and
    with ``####`` for the number (see `protocol.frame_names`).

    '' where it is not known that simply: for films, several views, and templates of Blender's own.
    """
    folder, name = split_output(scene.render.filepath)
    if writes_film(scene) or scene.render.use_multiview or "{" in name:
        return ""
    if "#" not in name.rpartition("/")[2]:
        name += "#" * FRAME_DIGITS
    path = os.path.abspath(scene.render.frame_path(frame=1))
    relative = os.path.relpath(path, folder).replace(os.sep, "/")
    first = numbered(name, 1)
    return name + relative[len(first) :] if relative.startswith(first) else ""


def frame_paths(scene: Any, frames: tuple[int, ...]) -> dict[int, str]:
    """Return the file of each frame whose presence *Overwrite* asks about.

    None for films and for several views, whose files have other names, and for a path with a
    template that Blender cannot read.
    """
    if writes_film(scene) or scene.render.use_multiview:
        return {}
    try:
        return {frame: os.path.abspath(scene.render.frame_path(frame=frame)) for frame in frames}
    except RuntimeError:  # a template that Blender cannot read; `checks` says so
        return {}


def frames_there(paths: dict[int, str], *, empty_too: bool) -> frozenset[int]:
    """Return the frames whose file, of `frame_paths`, lies in the output folder. Reads the disk.

    An empty file is a frame that some Blender has begun where *Placeholders* is on (``empty_too``),
    and else one that was never finished.
    """
    names: dict[str, frozenset[str]] = {}
    there: set[int] = set()
    for frame, path in paths.items():
        folder, name = os.path.split(path)
        if folder not in names:
            names[folder] = _names(folder)
        if name in names[folder] and (empty_too or _has_content(path)):
            there.add(frame)
    return frozenset(there)


def _has_content(path: str) -> bool:
    try:
        return os.path.getsize(path) > 0
    except OSError:  # gone since the folder was read
        return False


def _names(folder: str) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))
    except OSError:
        return frozenset()


_EXTENSIONS = {
    "BMP": ".bmp",
    "IRIS": ".rgb",
    "PNG": ".png",
    "JPEG": ".jpg",
    "JPEG2000": ".jp2",
    "TARGA": ".tga",
    "TARGA_RAW": ".tga",
    "CINEON": ".cin",
    "DPX": ".dpx",
    "OPEN_EXR": ".exr",
    "OPEN_EXR_MULTILAYER": ".exr",
    "HDR": ".hdr",
    "TIFF": ".tif",
    "WEBP": ".webp",
    "AVIF": ".avif",
}


# --- what a frame looks like -------------------------------------------------------------------


def frame_image(scene: Any, film: Film | None = None) -> FrameImage:
    """Return size, format and view files of the main output of a frame; of one for ``film``."""
    width, height = compat.frame_size(scene)
    render, settings = scene.render, scene.render.image_settings
    views: tuple[str, ...] = ()
    if render.use_multiview:
        if settings.views_format == "STEREO_3D":
            width, height = _stereo_size(settings.stereo_3d_format, width, height)
        elif settings.views_format == "INDIVIDUAL":
            views = view_suffixes(scene)
    file_format = STILL_OF_FILM_FORMAT if writes_film(scene) else settings.file_format
    if film is not None:
        file_format = compat.film_frame_format(scene)
    return FrameImage(width=width, height=height, file_format=file_format, views=views)


def _stereo_size(stereo: Any, width: int, height: int) -> tuple[int, int]:
    if stereo.display_mode == "SIDEBYSIDE" and not stereo.use_squeezed_frame:
        return width * 2, height
    if stereo.display_mode == "TOPBOTTOM" and not stereo.use_squeezed_frame:
        return width, height * 2
    return width, height


def view_suffixes(scene: Any) -> tuple[str, ...]:
    """Return the suffixes of the views that are rendered, in Blender's order."""
    render = scene.render
    if not render.use_multiview:
        return ()
    if render.views_format == "STEREO_3D":
        views = [view for view in render.views if view.name in ("left", "right")]
    else:
        views = list(render.views)
    return tuple(view.file_suffix for view in views if view.use)


# --- films -------------------------------------------------------------------------------------


def film(scene: Any, frames: tuple[int, ...], keep_frames: bool = False) -> Film | None:
    """Return the film that ``scene`` asks for, named as Blender names it.

    None where the output is a picture, and where frames of a video come as pictures: see
    `why_no_film`.
    """
    if not writes_film(scene) or why_no_film(scene, frames):
        return None
    folder, name = split_output(scene.render.filepath)
    first, last = frames[0], frames[-1]
    own = (scene.frame_start, scene.frame_end)
    if _is_range_of(scene, frames):
        # Blender's own last frame, which a step may leave out, is a part of the name.
        first, last = own
    render = scene.render
    own_path = _read_templates(scene) if compat.has_path_templates() and "{" in name else ""
    if own_path:
        # Only Blender can read those. The range it puts in is the scene's.
        path = os.path.relpath(own_path, folder).replace(os.sep, "/")
        name = _with_other_range(path, own, (first, last))
    else:
        name = film_name(scene, name, first, last)
    return Film(name=name, folder=folder, fps=render.fps / render.fps_base, keep_frames=keep_frames)


def why_no_film(scene: Any, frames: tuple[int, ...]) -> str:
    """Return why frames of a video come as pictures, one sentence; '' where they become a film."""
    if scene.render.use_multiview:
        return "A film of several views is made of pictures of each."
    if frame_step(frames) is None:
        return "A film is made of an unbroken range of frames, or of every n-th of one."
    if frames[0] < 0 and bpy.app.version < (5, 0, 0):
        return "This Blender makes no films that begin before frame 0."
    return ""


def _read_templates(scene: Any) -> str:
    try:
        return os.path.abspath(scene.render.frame_path(frame=scene.frame_start))
    except RuntimeError:  # a template that Blender cannot read; `checks` says so
        return ""


def _is_range_of(scene: Any, frames: tuple[int, ...]) -> bool:
    return frames == tuple(range(scene.frame_start, scene.frame_end + 1, scene.frame_step))


def _with_other_range(path: str, own: tuple[int, int], wanted: tuple[int, int]) -> str:
    for digits in range(12, 0, -1):
        before, after = ("-".join(padded(one, digits) for one in both) for both in (own, wanted))
        head, found, tail = path.rpartition(before)
        if found:
            return head + after + tail
    return path


def film_name(scene: Any, name: str, first: int, last: int) -> str:
    """Return Blender's file name for a film of these frames (``ffmpeg_filepath_get``).

    An empty name without extension, which Blender could not write, becomes a frame range.
    """
    if not scene.render.use_file_extension:
        return _with_range(name, first, last, always=not name)
    extensions = _film_extensions(scene)
    for extension in extensions:
        if name.lower().endswith(extension):
            return name[: -len(extension)] + extension
    return _with_range(name, first, last, always=True) + extensions[0]


def _film_extensions(scene: Any) -> tuple[str, ...]:
    if scene.render.image_settings.file_format != "FFMPEG":
        return (".avi",)
    return _FFMPEG_EXTENSIONS.get(scene.render.ffmpeg.format, (".mkv",))


def _without_film_extension(scene: Any, name: str) -> str:
    """Return the name under which the single frames of a film are rendered."""
    for extension in _film_extensions(scene):
        if name.lower().endswith(extension):
            return name[: -len(extension)] + "_"
    return name


def _with_range(name: str, first: int, last: int, *, always: bool) -> str:
    groups = list(re.finditer(r"#+", name))
    if not groups:
        if not always:
            return name
        return f"{name}{padded(first, FRAME_DIGITS)}-{padded(last, FRAME_DIGITS)}"
    found = groups[-1]
    digits = len(found[0])
    numbers = f"{padded(first, digits)}-{padded(last, digits)}"
    return name[: found.start()] + numbers + name[found.end() :]
