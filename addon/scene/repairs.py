"""What the buttons beside findings do: small changes that an artist would make by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import bpy

from . import compat, needs, outputs
from .findings import Repair, RepairError
from .paths import iterate_point_caches, resolve

RENDER_FOLDER = "//render/"
"""Where frames go when the scene's own folder cannot be written to."""


# --- dialogs of Blender ------------------------------------------------------------------------


def save_file() -> Repair:
    """Ask where the open file is to be saved, and save it."""
    return _dialog("Save the File...", lambda: bpy.ops.wm.save_as_mainfile("INVOKE_DEFAULT"))


def find_files() -> Repair:
    """Ask for a folder, and look there for files by their names."""
    return _dialog("Find Files...", lambda: bpy.ops.file.find_missing_files("INVOKE_DEFAULT"))


def _dialog(label: str, call: Callable[[], Any]) -> Repair:
    def apply() -> None:
        if bpy.app.background:
            raise RepairError("This asks in a window, and Blender runs without one.")
        _call(call)

    return Repair(label, apply, opens_dialog=True)


def _call(call: Callable[[], Any]) -> None:
    """Call one of Blender's operators. Raises `RepairError` with what it says."""
    try:
        result = call()
    except RuntimeError as error:
        reason = str(error).strip().removeprefix("Error: ").splitlines()[0].rstrip(".")
        raise RepairError(f"Blender could not do it: {reason}.") from error
    if "CANCELLED" in result:
        raise RepairError("Blender could not do it; its Info editor may say why.")


# --- the scene ---------------------------------------------------------------------------------


def use_camera(scene: Any) -> Repair | None:
    """Make a camera that the scene has its active one; None where it has none."""
    cameras = sorted(item.name for item in scene.objects if item.type == "CAMERA")
    if not cameras or scene.library is not None:
        return None
    name, camera = scene.name, cameras[0]

    def apply() -> None:
        there = _scene(name)
        if camera not in there.objects:
            raise RepairError(f'There is no camera "{camera}" in the scene any more.')
        there.camera = there.objects[camera]

    return Repair(f'Use "{camera}"', apply)


def use_view_layers(scene: Any) -> Repair | None:
    """Turn on all view layers of a scene for rendering."""
    name = scene.name

    def apply() -> None:
        for layer in _scene(name).view_layers:
            layer.use = True

    return Repair("Use All View Layers", apply) if scene.library is None else None


def use_processors(scene: Any) -> Repair:
    """Let Cycles render on the processors, in every scene that is a part of this one."""
    name = scene.name

    def apply() -> None:
        for part in needs.rendered_scenes(_scene(name)):
            if part.library is None and hasattr(part, "cycles"):
                part.cycles.device = "CPU"

    return Repair("Render on the CPU", apply)


def no_denoising(scene: Any) -> Repair | None:
    """Turn off the denoiser of Cycles; None where the compositor denoises, which stays."""
    name = scene.name
    parts = needs.rendered_scenes(scene)
    if any(
        node.bl_idname == "CompositorNodeDenoise"
        for part in parts
        for node in needs.compositor_nodes(part)
    ):
        return None

    def apply() -> None:
        for part in needs.rendered_scenes(_scene(name)):
            if part.library is None and hasattr(part, "cycles"):
                part.cycles.use_denoising = False

    return Repair("Turn Off Denoising", apply)


def all_view_layers_in_render(scene: Any) -> Repair:
    """Turn off *Render Single Layer*."""
    name = scene.name

    def apply() -> None:
        _scene(name).render.use_single_layer = False

    return Repair("Render All Layers", apply)


def _scene(name: str) -> Any:
    scene = bpy.data.scenes.get(name)
    if scene is None:
        raise RepairError(f'There is no scene "{name}" any more.')
    return scene


# --- where frames go ---------------------------------------------------------------------------


def render_beside_file(scene: Any, owner: str, node: str) -> Repair | None:
    """Let an output go to `RENDER_FOLDER`; ``owner`` and ``node`` as in `OutputRoot`.

    None where the open file has no place yet.
    """
    if not bpy.data.filepath:
        return None
    name = scene.name

    def apply() -> None:
        there = _scene(name)
        if not node:
            _, tail = outputs.split_output(there.render.filepath)
            there.render.filepath = RENDER_FOLDER + tail
            return
        found = _file_output(there, owner, node)
        _, tail = outputs.node_output(found)
        compat.set_file_output_folder(found, RENDER_FOLDER + tail)

    return Repair(f"Render to {RENDER_FOLDER}", apply)


def make_output_relative(scene: Any, owner: str, node: str) -> Repair | None:
    """Make the folder of a File Output node relative to the open file, where that can be."""
    there = _file_output(scene, owner, node)
    if not _relative(compat.file_output_folder(there)) or there.id_data.library is not None:
        return None
    name = scene.name

    def apply() -> None:
        found = _file_output(_scene(name), owner, node)
        relative = _relative(compat.file_output_folder(found))
        if not relative:
            raise RepairError("The folder cannot be made relative to where the file lies now.")
        compat.set_file_output_folder(found, relative)

    return Repair("Make Relative", apply)


def _relative(value: str) -> str:
    """Return a path relative to the open file; '' where that cannot be, as between drives."""
    if not bpy.data.filepath:
        return ""
    try:
        relative = bpy.path.relpath(value)
    except ValueError:
        return ""
    if not relative.startswith("//"):
        return ""
    ends = value.endswith(("/", "\\")) and not relative.endswith("/")
    return relative + "/" if ends else relative


def folder_of_its_own(scene: Any) -> Repair | None:
    """Let the render output of a scene go into a folder named after the scene."""
    if scene.library is not None:
        return None
    name = scene.name

    def apply() -> None:
        there = _scene(name)
        head, slash, tail = there.render.filepath.replace("\\", "/").rpartition("/")
        there.render.filepath = f"{head}{slash}{bpy.path.clean_name(name)}/{tail}"

    return Repair(f'Render to a Folder "{bpy.path.clean_name(name)}"', apply)


def _file_output(scene: Any, owner: str, node: str) -> Any:
    for group, found in outputs.file_output_nodes(scene):
        if (group, found.name) == (owner, node):
            return found
    raise RepairError(f'There is no File Output node "{node}" any more.')


# --- files -------------------------------------------------------------------------------------


def pack_file(path: str) -> Repair | None:
    """Put a file into the .blend, so that its name does not matter; None for what cannot be."""
    if not list(_packable(path)):
        return None

    def apply() -> None:
        found = list(_packable(path))
        if not found:
            raise RepairError(f"Nothing in the file uses {path} any more.")
        for item in found:
            _call(lambda item=item: item.pack() or {"FINISHED"})

    return Repair("Pack It into the File", apply)


def _packable(path: str) -> list[Any]:
    data: Any = bpy.data
    return [
        item
        for collection in (data.images, data.fonts, data.sounds)
        for item in collection
        if item.library is None
        and item.packed_file is None
        and getattr(item, "source", "FILE") == "FILE"
        and resolve(item.filepath) == path
    ]


def changed_images() -> list[Any]:
    """Return the images whose pixels were changed since they were saved, and that are used."""
    data: Any = bpy.data
    return [
        image
        for image in data.images
        if image.is_dirty and image.users and image.source != "VIEWER" and image.library is None
    ]


def save_images() -> Repair:
    """Save changed images: into their files, and those without one into the .blend."""

    def apply() -> None:
        for image in changed_images():
            has_file = image.source != "GENERATED" and image.filepath and not image.packed_files
            save = image.save if has_file else image.pack
            _call(lambda save=save: save() or {"FINISHED"})

    return Repair("Save All Images", apply)


# --- simulations -------------------------------------------------------------------------------


def bake_point_cache(owner: Any, label: str, last: int) -> Repair | None:
    """Bake a point cache, again if it was, up to frame ``last``; None for one of a library."""
    if owner.library is not None:
        return None

    def apply() -> None:
        found = next(
            (
                (its_owner, cache)
                for its_owner, its_label, cache in iterate_point_caches()
                if its_label == label
            ),
            None,
        )
        if found is None:
            raise RepairError(f"There is no {label} any more.")
        its_owner, cache = found
        changes: dict[str, Any] = {"point_cache": cache}
        if its_owner.bl_rna.identifier == "Scene":
            changes["scene"] = its_owner
        else:
            changes |= {"object": its_owner, "active_object": its_owner}
        with bpy.context.temp_override(**changes):
            if cache.is_baked:
                _call(bpy.ops.ptcache.free_bake)
            cache.frame_end = max(cache.frame_end, last)
            _call(lambda: bpy.ops.ptcache.bake(bake=True))

    return Repair("Bake It", apply)


def bake_nodes(owner: Any, modifier: Any, bake_id: int) -> Repair | None:
    """Bake one simulation zone of a Geometry Nodes modifier; None for one of a library."""
    if owner.library is not None or not bpy.data.filepath:
        return None
    name, modifier_name = owner.name, modifier.name

    def apply() -> None:
        there: Any = bpy.data.objects.get(name)
        if there is None or modifier_name not in there.modifiers:
            raise RepairError(f'There is no modifier "{modifier_name}" of "{name}" any more.')
        _call(
            lambda: bpy.ops.object.geometry_node_bake_single(
                session_uid=there.session_uid, modifier_name=modifier_name, bake_id=bake_id
            )
        )

    return Repair("Bake It", apply)
