"""Every difference between Blender 4.2 and 5.2 that Rendermill touches, in this one file.

Imports bpy and the standard library only: its source text also becomes a part of the script that
a node feeds to its own Blender, so nothing here may know of the rest of the package.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import bpy

EEVEE_ENGINES = ("BLENDER_EEVEE_NEXT", "BLENDER_EEVEE")
"""Identifiers of EEVEE: the first up to 4.5, the second since 5.0."""

OPENGL_ENGINES = (*EEVEE_ENGINES, "BLENDER_WORKBENCH")
"""Engines of Blender itself that need a graphics context."""

FARM_ENGINES = ("CYCLES", *OPENGL_ENGINES)
"""Engines that any Blender brings along; all others come from an add-on of the artist."""

MOVIE_FORMATS = ("FFMPEG", "AVI_JPEG", "AVI_RAW")
MULTILAYER_FORMAT = "OPEN_EXR_MULTILAYER"

GREASE_PENCIL_TYPES = ("GPENCIL", "GREASEPENCIL")
"""Object types of grease pencil before 4.3 and since."""


def compositor_tree(scene: Any) -> Any | None:
    """Return the node tree that composites ``scene``, or None when it has none or it is off."""
    if hasattr(scene, "compositing_node_group"):  # 5.0 and later; there `use_nodes` is always true
        return scene.compositing_node_group
    return scene.node_tree if scene.use_nodes else None


def has_composite_output(scene: Any) -> bool:
    """Whether the compositor of ``scene`` has a node for the main image."""
    tree = compositor_tree(scene)
    wanted = (
        "NodeGroupOutput" if hasattr(scene, "compositing_node_group") else "CompositorNodeComposite"
    )
    return tree is not None and any(node.bl_idname == wanted for node in tree.nodes)


def strips(scene: Any) -> tuple[Any, ...]:
    """Return every sequencer strip of ``scene``, those inside meta strips included."""
    editor = scene.sequence_editor
    if editor is None:
        return ()
    return tuple(editor.strips_all if hasattr(editor, "strips_all") else editor.sequences_all)


def top_strips(scene: Any) -> tuple[Any, ...]:
    """Return the sequencer strips of ``scene`` that lie in no meta strip."""
    editor = scene.sequence_editor
    if editor is None:
        return ()
    return tuple(editor.strips if hasattr(editor, "strips") else editor.sequences)


def renders_sequencer(scene: Any) -> bool:
    """Whether Blender renders the sequencer instead of the scene (``RE_seq_render_active``)."""
    if not scene.render.use_sequencer or scene.sequence_editor is None:
        return False
    channels = scene.sequence_editor.channels
    return any(
        strip.type != "SOUND" and not strip.mute and not channels[strip.channel].mute
        for strip in top_strips(scene)
    )


def frame_size(scene: Any) -> tuple[int, int]:
    """Return width and height in pixels after percentage and crop, in Blender's own arithmetic."""
    render = scene.render
    width = render.resolution_x * render.resolution_percentage // 100
    height = render.resolution_y * render.resolution_percentage // 100
    if not (render.use_border and render.use_crop_to_border) or renders_sequencer(scene):
        return width, height
    left, right = _cut(render.border_min_x, width), _cut(render.border_max_x, width)
    bottom, top = _cut(render.border_min_y, height), _cut(render.border_max_y, height)
    return right - left, top - bottom


def _cut(fraction: float, size: int) -> int:
    """Multiply as Blender does: 32-bit floats, rounded once, then cut to an int."""
    return int(struct.unpack("f", struct.pack("f", fraction * size))[0])


def set_image_format(settings: Any, file_format: str) -> None:
    """Set ``file_format``; since 5.0 the media type must be set first, or it is refused."""
    if hasattr(settings, "media_type"):
        if file_format in MOVIE_FORMATS:
            settings.media_type = "VIDEO"
        elif file_format == MULTILAYER_FORMAT:
            settings.media_type = "MULTI_LAYER_IMAGE"
        else:
            settings.media_type = "IMAGE"
    settings.file_format = file_format


def film_frame_format(scene: Any) -> str:
    """Return the image format whose frames, encoded later, are the film ``scene`` would write.

    PNG where the film has 8 bits and the frames come back through Blender's sRGB display unchanged;
    else the scene's linear light in 32 bits, which goes through the view transform when encoded.
    """
    settings = scene.render.image_settings
    is_plain = scene.display_settings.display_device == "sRGB" and settings.color_depth == "8"
    if is_plain and settings.color_management == "OVERRIDE":
        is_plain = settings.display_settings.display_device == "sRGB"
    return "PNG" if is_plain else "OPEN_EXR"


def set_film_frame_format(settings: Any, file_format: str) -> None:
    """Set a `film_frame_format`, lossless, with the channels that the film has."""
    channels = settings.color_mode
    set_image_format(settings, file_format)
    # A grey film is made grey as it is written, which only some versions do with grey frames too.
    settings.color_mode = "RGBA" if channels == "RGBA" else "RGB"
    if file_format == "OPEN_EXR":
        settings.color_depth = "32"
        settings.exr_codec = "ZIP"
        # Linear as it is: an override is the film's, and is applied when that is encoded.
        settings.color_management = "FOLLOW_SCENE"
    else:
        settings.color_depth = "8"


def cycles_setting(owner: Any, name: str, default: Any) -> Any:
    """Return a Cycles setting of a scene or view layer, ``default`` without such a one."""
    return getattr(getattr(owner, "cycles", None), name, default)


def uses_texture_cache() -> bool:
    """Whether Cycles reads pictures through files that were made of them before: since 5.2."""
    scenes: Any = bpy.data.scenes
    return any(
        getattr(scene.render, "use_texture_cache", False) and scene.render.engine == "CYCLES"
        for scene in scenes
    )


def has_path_templates() -> bool:
    """Whether output paths may hold ``{blend_name}`` and the like: since 4.5."""
    return bpy.app.version >= (4, 5, 0)


def modifier_input(modifier: Any, identifier: str) -> Any | None:
    """Return the value a Geometry Nodes modifier gives to an input; None when it has none."""
    inputs = getattr(getattr(modifier, "properties", None), "inputs", None)
    if inputs is not None:  # 5.2: real properties, each with `value`
        return getattr(getattr(inputs, identifier, None), "value", None)
    try:
        return modifier[identifier]
    except (KeyError, TypeError):
        return None


def set_modifier_input(modifier: Any, identifier: str, value: Any) -> None:
    """Set the value that a Geometry Nodes modifier gives to an input."""
    inputs = getattr(getattr(modifier, "properties", None), "inputs", None)
    if inputs is not None:
        getattr(inputs, identifier).value = value
    else:
        modifier[identifier] = value


def is_generated_tile(tile: Any) -> bool:
    """Whether a UDIM tile is made by Blender and has no file; not told before 4.5."""
    return bool(getattr(tile, "is_generated_tile", False))


def is_packed_library(library: Any) -> bool:
    """Whether a library lies inside the .blend itself (packed file, or an archive of 5.0)."""
    return library.packed_file is not None or bool(getattr(library, "is_archive", False))


def has_packed_data(library: Any) -> bool:
    """Whether data of a library lie inside the .blend, since 5.0; others may still be linked."""
    return any(
        getattr(other, "archive_parent_library", None) == library for other in bpy.data.libraries
    )


# --- File Output nodes -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OutputSlot:
    """One input of a File Output node."""

    name: str
    """File name without frame number, subfolders included; layer name in a multilayer file."""
    file_format: str


def is_file_output(node: Any) -> bool:
    """Whether ``node`` is a compositor File Output node."""
    return node.bl_idname == "CompositorNodeOutputFile"


def file_output_folder(node: Any) -> str:
    """Return the raw folder of a File Output node.

    Of a multilayer node before 5.0 the path ends in the file's name, which stays a part of it.
    """
    return node.directory if hasattr(node, "directory") else node.base_path


def set_file_output_folder(node: Any, folder: str) -> None:
    """Set the raw folder of a File Output node; see `file_output_folder`."""
    if hasattr(node, "directory"):
        node.directory = folder
    else:
        node.base_path = folder


def is_multilayer_output(node: Any) -> bool:
    """Whether a File Output node writes one multilayer file instead of one file per input."""
    return node.format.file_format == MULTILAYER_FORMAT


def file_output_has_name(node: Any) -> bool:
    """Whether the last part of `file_output_folder` is the name of a file (multilayer, 4.x)."""
    return not hasattr(node, "directory") and is_multilayer_output(node)


def file_output_name(node: Any) -> str:
    """Return the file name a File Output node puts before every item; '' before 5.0."""
    return getattr(node, "file_name", "")


def file_output_slots(node: Any) -> Iterator[OutputSlot]:
    """Yield the inputs of a File Output node."""
    own = node.format.file_format
    if hasattr(node, "file_output_items"):
        for item in node.file_output_items:
            # 5.0 lets nobody give a name with folders, and writes into those of older files.
            theirs = item.override_node_format and not is_multilayer_output(node)
            yield OutputSlot(item.name, item.format.file_format if theirs else own)
    elif is_multilayer_output(node):
        for layer in node.layer_slots:
            yield OutputSlot(layer.name, own)
    else:
        for slot in node.file_slots:
            yield OutputSlot(slot.path, own if slot.use_node_format else slot.format.file_format)


def save_snapshot_copy(filepath: str) -> None:
    """Write a copy of the open file as it is in memory; the open file keeps its name and state."""
    bpy.ops.wm.save_as_mainfile(
        filepath=filepath, copy=True, relative_remap=False, compress=False, check_existing=False
    )
