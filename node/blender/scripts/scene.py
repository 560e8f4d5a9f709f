"""Opens the scene of a job and redirects it to the farm; all else stays as the artist set it."""

from __future__ import annotations

import os
import re
from typing import Any

import bpy

from . import compat, paths, problems  # pyright: ignore[reportAttributeAccessIssue]

_RANGE = re.compile(r"\bframe_(?:start|end)\b")


class Refused(Exception):
    """The job cannot be rendered here; the message is one sentence. ``kind`` as in the protocol."""

    def __init__(self, reason: str, kind: str = "scene") -> None:
        super().__init__(reason)
        self.kind = kind


class OpenJob:
    """The scene of a job, open in this Blender."""

    def __init__(self, params: dict[str, Any]) -> None:
        """Open ``params["workspace"]/spec["blend"]`` and set it up. Raises `Refused`.

        With ``params["film"]`` the image settings stay the artist's: those of the film.
        """
        self.spec: dict[str, Any] = params["spec"]
        self.workspace: str = params["workspace"]
        load_messages = _open_file(
            os.path.join(self.workspace, *self.spec["blend"].split("/")), self.spec["trust_scripts"]
        )
        rewritten = paths.rewrite_absolute_paths(
            [
                (root["folder"], os.path.join(self.workspace, *root["path"].split("/")))
                for root in self.spec["roots"]
            ]
        )
        self.scene: Any = _scene_named(self.spec["scene"])
        if bpy.context.window is not None:
            bpy.context.window.scene = self.scene
        self._set_engine()
        self._set_performance(params.get("threads", 0), params.get("gpus", []))
        if not params.get("film"):
            self._set_format()
        self.silent_outputs: list[str] = []
        """Ids of the roots that Blender does not write to as the scene is set."""
        self._nodes = self._output_nodes()
        # Whatever writes and is not part of the job must not write where its path says.
        listed = {node.as_pointer() for node in self._nodes.values()}
        self._strays = [node for node in _file_output_nodes() if node.as_pointer() not in listed]
        # A path outside the roots is no problem where its file exists, and else is listed here.
        self.warnings = problems.missing_files()
        self.warnings += [text for text in rewritten.warnings if "could not be read" in text]
        if self.warnings:
            # Without them, what Blender said was of paths that were not rewritten yet.
            self.warnings += load_messages
        self.range_is_read = _range_is_read(self.scene)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels of what the scene renders, after percentage and crop."""
        return compat.frame_size(self.scene)

    @property
    def passes(self) -> int:
        """How often the engine runs for a frame: view layers times views."""
        render = self.scene.render
        layers = sum(1 for layer in self.scene.view_layers if layer.use) or 1
        views = sum(1 for view in render.views if view.use) if render.use_multiview else 1
        return layers * max(1, views)

    def redirect(self, output: str) -> None:
        """Send everything the scene writes into the folders of its roots below ``output``."""
        for root in self.spec["outputs"]:
            folder = os.path.join(output, root["id"])
            os.makedirs(folder, exist_ok=True)
            # What follows the folder: a name, a template, or nothing and then a separator.
            path = os.path.join(folder, *root["name"].split("/"))
            if root["id"] == "main":
                self.scene.render.filepath = path
            else:
                compat.set_file_output_folder(self._nodes[root["id"]], path)
        for node in self._strays:
            compat.set_file_output_folder(node, os.path.join(output, "strays", ""))

    def _set_engine(self) -> None:
        engine = self.spec["requires"]["engine"]
        render = self.scene.render
        if render.engine == engine:
            return
        if engine in compat.EEVEE_ENGINES and render.engine in compat.EEVEE_ENGINES:
            return
        raise Refused(
            f'The scene "{self.scene.name}" renders with {render.engine}, the job says {engine}; '
            "submit it again."
        )

    def _set_performance(self, threads: int, gpus: list[dict[str, str]]) -> None:
        render = self.scene.render
        if threads > 0:
            render.threads_mode = "FIXED"
            render.threads = threads
        else:
            # A number that suits the artist's machine would leave this one idle.
            render.threads_mode = "AUTO"
        if render.engine != "CYCLES":
            return
        render.use_persistent_data = bool(self.spec["persistent_data"])
        if getattr(render, "use_auto_generate_texture_cache", False):
            # Cycles 5.2 puts them beside the pictures, where nothing can be written here.
            context: Any = bpy.context
            folders = context.preferences.filepaths
            folders.texture_cache_directory = os.path.join(bpy.app.tempdir, "textures", "")
        if self.spec["requires"]["device"] == "gpu":
            enable_gpus(gpus)
            self.scene.cycles.device = "GPU"
        else:
            self.scene.cycles.device = "CPU"

    def _set_format(self) -> None:
        render = self.scene.render
        render.use_overwrite = True
        render.use_placeholder = False
        wanted = self.spec["image"]["file_format"]
        settings = render.image_settings
        if settings.file_format == wanted:
            return
        if self.spec["film"] is not None:
            compat.set_film_frame_format(settings, wanted)
        else:
            compat.set_image_format(settings, wanted)

    def _output_nodes(self) -> dict[str, Any]:
        nodes = {}
        for root in self.spec["outputs"]:
            if root["id"] == "main":
                continue
            node = _output_node(self.scene, root["owner"], root["node"])
            nodes[root["id"]] = node
            if not self._node_writes(node):
                self.silent_outputs.append(root["id"])
        return nodes

    def _node_writes(self, node: Any) -> bool:
        """Whether Blender would write a file for this node at all."""
        render = self.scene.render
        sequencer = compat.renders_sequencer(self.scene)
        composites = render.use_compositing and compat.compositor_tree(self.scene) is not None
        linked = any(socket.is_linked for socket in node.inputs)
        return composites and not sequencer and linked and not node.mute


def _open_file(path: str, trust_scripts: bool) -> list[str]:
    """Open a .blend; return what Blender complained about although it opened it."""
    name = os.path.basename(path)
    if not os.path.isfile(path):
        raise Refused(f"The scene {name} is not in the job's files.", "node")
    try:
        bpy.ops.wm.open_mainfile(filepath=path, load_ui=False, use_scripts=trust_scripts)
    except RuntimeError as error:
        if not bpy.data.filepath or not os.path.samefile(bpy.data.filepath, path):
            raise Refused(f"Blender cannot open {name}: {sentence(error)}") from error
        return [sentence(error)]
    return []


def sentence(error: BaseException) -> str:
    """Return what an error of an operator says, without the word Error and in one line."""
    text = re.sub(r"^(?:Error|Warning):\s*", "", str(error).strip())
    return " ".join(text.split()) or type(error).__name__


def _scene_named(name: str) -> Any:
    scenes: Any = bpy.data.scenes
    for scene in scenes:
        if scene.name == name and scene.library is None:
            return scene
    known = ", ".join(f'"{scene.name}"' for scene in bpy.data.scenes)
    raise Refused(f'The .blend has no scene "{name}", only {known}.')


def _output_node(scene: Any, owner: str, name: str) -> Any:
    tree = bpy.data.node_groups.get(owner) if owner else compat.compositor_tree(scene)
    node = tree.nodes.get(name) if tree is not None else None
    if node is None or not compat.is_file_output(node):
        place = f'the node group "{owner}"' if owner else "the compositor"
        raise Refused(f'There is no File Output node "{name}" in {place}; submit the scene again.')
    return node


def _file_output_nodes() -> list[Any]:
    trees = [compat.compositor_tree(scene) for scene in bpy.data.scenes] + list(
        bpy.data.node_groups
    )
    return [
        node
        for tree in trees
        if tree is not None
        for node in tree.nodes
        if compat.is_file_output(node)
    ]


def enable_gpus(gpus: list[dict[str, str]]) -> None:
    """Enable exactly these devices for Cycles. Raises `Refused` when one is not there."""
    if not gpus:
        raise Refused("The job asks for a GPU and this node offers none to it.", "node")
    context: Any = bpy.context
    addon = context.preferences.addons.get("cycles")
    if addon is None:
        raise Refused("Cycles is not part of this Blender.", "node")
    preferences: Any = addon.preferences
    backend = gpus[0]["backend"]
    try:
        preferences.compute_device_type = backend
    except TypeError as error:
        raise Refused(f"This Blender cannot render with {backend}.", "node") from error
    preferences.refresh_devices()
    wanted = {gpu["id"] for gpu in gpus}
    for device in preferences.devices:
        device.use = device.type == backend and device.id in wanted
        if device.use:
            wanted.discard(device.id)
    if wanted:
        names = ", ".join(gpu["name"] for gpu in gpus if gpu["id"] in wanted)
        raise Refused(f"{backend} does not list {names} any more.", "node")


def _range_is_read(scene: Any) -> bool:
    """Whether a picture could depend on the scene's first and last frame."""
    if scene.render.use_stamp_frame_range:
        return True
    for owner in _animated():
        for curve in owner.animation_data.drivers:
            texts = [curve.driver.expression]
            texts += [target.data_path for var in curve.driver.variables for target in var.targets]
            if any(_RANGE.search(text) for text in texts):
                return True
    return False


def _animated() -> list[Any]:
    """Every datablock, node tree and shape key of the file that has animation data."""
    collections = [getattr(bpy.data, name) for name in dir(bpy.data)]
    blocks = [
        block
        for collection in collections
        if isinstance(collection, bpy.types.bpy_prop_collection)
        for block in collection
    ]
    parts = [
        part
        for block in blocks
        for part in (block, getattr(block, "node_tree", None), getattr(block, "shape_keys", None))
    ]
    return [part for part in parts if getattr(part, "animation_data", None) is not None]
