"""Every path that a .blend holds, as slots that can be read and written.

Blender's own lists (`blend_paths`, `file_path_map`, `file_path_foreach`) leave out bake folders,
external point caches, import paths of Geometry Nodes and say nothing of sequences, and they differ
from version to version. The artist's side reads these slots to find the files of a scene, a node
writes them where a path is absolute.

Imports bpy, the standard library, `compat` and `socket_texts` only: together with these its source
text is a part of the script that a node feeds to its own Blender.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import bpy

from . import compat, socket_texts


class PathKind(str, Enum):
    """What stands at the end of a path, and so how its files are found."""

    FILE = "file"
    """One file."""
    SEQUENCE = "sequence"
    """One file of a numbered sequence in its folder; all of them are meant."""
    UDIM = "udim"
    """A name with ``<UDIM>`` or ``<UVTILE>``; one file per tile."""
    STRIP_FOLDER = "strip folder"
    """Folder of an image strip; the names of the files are in the strip's elements."""
    POINT_CACHE = "point cache"
    """Folder with the frames of an external point cache."""
    FLUID_CACHE = "fluid cache"
    """Folder of a fluid domain, with its known subfolders."""
    BAKE_FOLDER = "bake folder"
    """Folder of a Geometry Nodes bake."""
    OCEAN_CACHE = "ocean cache"
    """Folder with the baked images of an Ocean modifier."""
    LIBRARY = "library"
    """Another .blend."""
    OUTPUT = "output"
    """Where Blender writes; never a dependency, never rewritten here."""


@dataclass(frozen=True, slots=True)
class PathSlot:
    """One property that holds a path."""

    owner: bpy.types.ID
    """Datablock the path belongs to; ``//`` is relative to the file that this one comes from,
    unless there is a ``reader``."""
    label: str
    """For people: ``Image "wood"``."""
    kind: PathKind
    holder: Any
    """The bpy struct that has the property, or a Geometry Nodes modifier for an input of it."""
    attribute: str
    needed: bool = True
    """False where a missing file changes nothing: switched off, packed, or read by nobody."""
    reader: bpy.types.ID | None = None
    """Datablock whose file ``//`` is relative to, where it is not that of the owner."""

    @property
    def value(self) -> str:
        """The path as Blender spells it, possibly relative (``//``) and possibly ''."""
        if _is_modifier_input(self):
            value = compat.modifier_input(self.holder, self.attribute)
            return value if isinstance(value, str) else ""
        return getattr(self.holder, self.attribute)

    def write(self, value: str) -> None:
        """Set the path; Blender reloads what hangs on it, libraries excepted."""
        if _is_modifier_input(self):
            compat.set_modifier_input(self.holder, self.attribute, value)
            self.owner.update_tag()
        else:
            setattr(self.holder, self.attribute, value)

    @property
    def resolved(self) -> str:
        """The path without ``//``, in normal form; '' when there is none.

        Purely lexical: symbolic links keep the name under which Blender knows them. A path without
        ``//`` that is not absolute stays relative; so does any ``//`` path of an unsaved file.
        """
        if self.kind is PathKind.POINT_CACHE:
            return resolve(self.value, cache_library(self.owner, self.holder))
        return resolve(self.value, (self.reader or self.owner).library)


def cache_library(owner: Any, cache: Any) -> Any | None:
    """Return the library that a point cache lies beside, None where it is the open file."""
    return owner.library if cache.use_library_path else None


def _is_modifier_input(slot: PathSlot) -> bool:
    return slot.kind is PathKind.FILE and getattr(slot.holder, "type", "") == "NODES"


def resolve(value: str, library: Any | None = None) -> str:
    """Return ``value`` without ``//`` in normal form; '' for ''. See `PathSlot.resolved`."""
    if not value:
        return ""
    if is_windows_absolute(value) and os.name != "nt":
        return value
    absolute = bpy.path.abspath(value, library=library)
    # abspath() leaves `//` of a linked library's own relative path in place on unsaved files.
    if os.name != "nt":
        absolute = absolute.replace("\\", "/") if value.startswith("//") else absolute
    return os.path.normpath(absolute) if absolute else ""


def is_windows_absolute(path: str) -> bool:
    """Whether ``path`` is absolute on Windows: ``C:\\...`` or a network share."""
    return bool(re.match(r"[A-Za-z]:[\\/]", path)) or path.startswith("\\\\")


def is_absolute(path: str) -> bool:
    """Whether a path as Blender spells it is absolute on any system (``//`` is not)."""
    return (path.startswith("/") and not path.startswith("//")) or is_windows_absolute(path)


def is_too_wide(folder: str) -> bool:
    """Whether a folder must never be followed: '', a root, a home or a folder that holds homes."""
    if not folder or not is_absolute(folder):
        return True
    path = os.path.normcase(os.path.normpath(folder))
    home = os.path.normcase(str(Path.home()))
    return os.path.dirname(path) == path or path == home or home.startswith(path + os.sep)


def label_of(owner: Any) -> str:
    """Return a datablock as people call it: ``Image "wood"``."""
    noun = _NOUNS.get(type(owner).__name__) or owner.bl_rna.name or type(owner).__name__
    return f'{noun} "{owner.name}"'


_NOUNS = {
    "CacheFile": "Cache file",
    "VectorFont": "Font",
    "MovieClip": "Movie clip",
    "FreestyleLineStyle": "Line style",
    "CompositorNodeTree": "Node group",
    "GeometryNodeTree": "Node group",
    "ShaderNodeTree": "Node group",
}


# --- every slot --------------------------------------------------------------------------------


def iterate_slots() -> Iterator[PathSlot]:
    """Yield every path of the open file and of all libraries it links, libraries first."""
    return (slot for slot in walk_slots() if slot is not None)


def walk_slots() -> Iterator[PathSlot | None]:
    """As `iterate_slots`, with None after each data-block: Blender may go on there for a while."""
    yield from _library_slots()
    yield from _image_slots()
    yield from _media_slots()
    for scene in bpy.data.scenes:
        yield from _scene_slots(scene)
    yield None
    for owner in all_of(bpy.data.objects):
        yield from _object_slots(owner)
        yield None
    for owner, tree in iterate_node_trees():
        yield from _node_slots(owner, tree)
        yield None
    for camera in bpy.data.cameras:
        if getattr(camera, "custom_filepath", ""):  # 5.0: a camera written in OSL
            used = camera.type == "CUSTOM" and camera.custom_mode == "EXTERNAL"
            yield PathSlot(camera, label_of(camera), PathKind.FILE, camera, "custom_filepath", used)


def all_of(collection: Any) -> list[Any]:
    """Return the data-blocks of a collection of `bpy.data`, for callers that pause in between.

    Blender's own iterator would crash where the data-block it stands on was removed meanwhile; one
    of this list raises ReferenceError when it is used. Takes 7 ms for 100,000.
    """
    return collection[:]


def _library_slots() -> Iterator[PathSlot]:
    for library in bpy.data.libraries:
        if not compat.is_packed_library(library):
            # Blender keeps the paths of all libraries relative to the open file, nested ones too.
            used = not compat.has_packed_data(library) or bool(library.users_id)
            yield PathSlot(library, label_of(library), PathKind.LIBRARY, library, "filepath", used)


def _image_slots() -> Iterator[PathSlot | None]:
    for image in all_of(bpy.data.images):
        yield None
        if image.source in ("GENERATED", "VIEWER") or not image.filepath:
            continue
        if image.packed_file is not None or len(image.packed_files) > 0:
            continue
        kind = {"SEQUENCE": PathKind.SEQUENCE, "TILED": PathKind.UDIM}.get(image.source)
        used = image.users > 0
        yield PathSlot(image, label_of(image), kind or PathKind.FILE, image, "filepath", used)


def _media_slots() -> Iterator[PathSlot | None]:
    for font in bpy.data.fonts:
        if font.packed_file is None and font.filepath not in ("", "<builtin>"):
            yield _simple(font, PathKind.FILE)
    for sound in bpy.data.sounds:
        if sound.packed_file is None and sound.filepath:
            yield _simple(sound, PathKind.FILE)
    for clip in bpy.data.movieclips:
        yield _simple(clip, PathKind.SEQUENCE if clip.source == "SEQUENCE" else PathKind.FILE)
    for volume in bpy.data.volumes:
        if volume.packed_file is None:
            yield _simple(volume, PathKind.SEQUENCE if volume.is_sequence else PathKind.FILE)
    for cache in bpy.data.cache_files:
        kind = PathKind.SEQUENCE if cache.is_sequence else PathKind.FILE
        yield _simple(cache, kind)
        for layer in cache.layers:
            used = cache.users > 0 and not layer.hide_layer
            yield PathSlot(cache, f"Layer of {label_of(cache)}", kind, layer, "filepath", used)
    if not any(text.filepath and not text.is_in_memory for text in bpy.data.texts):
        return
    read = yield from _texts_that_are_read()
    for text in bpy.data.texts:
        if text.filepath and not text.is_in_memory:
            used = text.as_pointer() in read or text.use_module
            yield PathSlot(text, label_of(text), PathKind.FILE, text, "filepath", used)


def _simple(owner: Any, kind: PathKind) -> PathSlot:
    return PathSlot(owner, label_of(owner), kind, owner, "filepath", owner.users > 0)


def _texts_that_are_read() -> Generator[None, None, set[int]]:
    """Return pointers of the texts that rendering reads: IES, OSL and Freestyle modules.

    The user count cannot tell: every text counts as used.
    """
    found: set[int] = set()
    for _, tree in iterate_node_trees():
        found.update(
            text.as_pointer()
            for node in tree.nodes
            if (text := getattr(node, "ies", None) or getattr(node, "script", None)) is not None
        )
        yield
    for scene in bpy.data.scenes:
        for layer in scene.view_layers:
            modules = layer.freestyle_settings.modules
            found.update(module.script.as_pointer() for module in modules if module.script)
    return found


def _scene_slots(scene: Any) -> Iterator[PathSlot]:
    label = label_of(scene)
    yield PathSlot(
        scene, f"Output path of {label}", PathKind.OUTPUT, scene.render, "filepath", False
    )
    for strip in compat.strips(scene):
        name = f'"{strip.name}" of {label}'
        used = not strip.mute
        if strip.type == "IMAGE":
            yield PathSlot(
                scene, f"Image strip {name}", PathKind.STRIP_FOLDER, strip, "directory", used
            )
        elif strip.type == "MOVIE":
            yield PathSlot(scene, f"Movie strip {name}", PathKind.FILE, strip, "filepath", used)
    if scene.rigidbody_world is not None:
        caches = scene.rigidbody_world.point_cache
        yield from _point_cache_slots(scene, f"Rigid body world of {label}", caches)


def _object_slots(owner: Any) -> Iterator[PathSlot]:
    label = label_of(owner)
    for modifier in owner.modifiers:
        yield from _modifier_slots(owner, modifier, f'Modifier "{modifier.name}" of {label}')
    for system in owner.particle_systems:
        name = f'Particle system "{system.name}" of {label}'
        yield from _point_cache_slots(owner, name, system.point_cache)


def _modifier_slots(owner: Any, modifier: Any, label: str) -> Iterator[PathSlot]:
    used = modifier.show_render
    match modifier.type:
        case "MESH_CACHE":
            yield PathSlot(owner, label, PathKind.FILE, modifier, "filepath", used)
        case "MULTIRES":
            if modifier.is_external:
                yield PathSlot(owner, label, PathKind.FILE, modifier, "filepath", used)
        case "OCEAN":
            baked = used and modifier.is_cached
            yield PathSlot(owner, label, PathKind.OCEAN_CACHE, modifier, "filepath", baked)
        case "FLUID":
            if modifier.fluid_type == "DOMAIN" and modifier.domain_settings is not None:
                settings = modifier.domain_settings
                baked = used and settings.has_cache_baked_any
                yield PathSlot(
                    owner, label, PathKind.FLUID_CACHE, settings, "cache_directory", baked
                )
        case "CLOTH" | "SOFT_BODY":
            yield from _point_cache_slots(owner, label, modifier.point_cache)
        case "DYNAMIC_PAINT":
            canvas = modifier.canvas_settings
            for surface in canvas.canvas_surfaces if canvas is not None else ():
                yield from _point_cache_slots(owner, label, surface.point_cache)
                yield PathSlot(owner, label, PathKind.OUTPUT, surface, "image_output_path", False)
        case "NODES":
            yield from _nodes_modifier_slots(owner, modifier, label)
        case _:
            pass


def _point_cache_slots(owner: Any, label: str, cache: Any) -> Iterator[PathSlot]:
    # Disk caches have no path of their own: they hang on the name of the .blend, see
    # `iterate_point_caches`. Only the active one of several caches answers as `cache` itself.
    if cache.use_external:
        yield PathSlot(owner, label, PathKind.POINT_CACHE, cache, "filepath")


def iterate_point_caches() -> Iterator[tuple[Any, str, Any]]:
    """Yield owner, label and cache of every point cache of the file."""
    return (item for item in walk_point_caches() if item is not None)


def walk_point_caches() -> Iterator[tuple[Any, str, Any] | None]:
    """As `iterate_point_caches`, with None after each data-block, as in `walk_slots`."""
    for scene in bpy.data.scenes:
        if scene.rigidbody_world is not None:
            label = f"Rigid body world of {label_of(scene)}"
            yield scene, label, scene.rigidbody_world.point_cache
    for owner in all_of(bpy.data.objects):
        for modifier in owner.modifiers:
            if modifier.type not in ("CLOTH", "SOFT_BODY", "DYNAMIC_PAINT"):
                continue
            label = f'Modifier "{modifier.name}" of {label_of(owner)}'
            if modifier.type != "DYNAMIC_PAINT":
                yield owner, label, modifier.point_cache
            elif modifier.canvas_settings is not None:
                for surface in modifier.canvas_settings.canvas_surfaces:
                    yield owner, label, surface.point_cache
        for system in owner.particle_systems:
            label = f'Particle system "{system.name}" of {label_of(owner)}'
            yield owner, label, system.point_cache
        yield None


def _nodes_modifier_slots(owner: Any, modifier: Any, label: str) -> Iterator[PathSlot]:
    # Without its files a bake is no error but undone: Blender then runs the nodes themselves.
    own = getattr(modifier, "bake_target", "DISK")
    for bake in modifier.bakes:
        target = getattr(bake, "bake_target", "INHERIT")
        if (own if target == "INHERIT" else target) != "DISK":
            continue
        holder, attribute = modifier, "bake_directory"
        if bake.use_custom_path:
            holder, attribute = bake, "directory"
        if getattr(holder, attribute):
            yield PathSlot(owner, label, PathKind.BAKE_FOLDER, holder, attribute, False)


def iterate_node_trees() -> Iterator[tuple[Any, Any]]:
    """Yield the owning datablock and the tree of every node tree; groups own themselves."""
    owners = ("materials", "worlds", "lights", "textures", "linestyles", "scenes")
    for collection in owners:
        for owner in all_of(getattr(bpy.data, collection)):
            tree = getattr(owner, "node_tree", None)
            if tree is not None:
                yield owner, tree
    for group in all_of(bpy.data.node_groups):
        yield group, group


def _node_slots(owner: Any, tree: Any) -> Iterator[PathSlot]:
    used = owner.users > 0
    for node in tree.nodes:
        name = f'Node "{node.name}" of {label_of(owner)}'
        if node.bl_idname in ("ShaderNodeTexIES", "ShaderNodeScript"):
            if node.mode == "EXTERNAL" and node.filepath:
                yield PathSlot(owner, name, PathKind.FILE, node, "filepath", used and not node.mute)
        elif compat.is_file_output(node):
            attribute = "directory" if hasattr(node, "directory") else "base_path"
            yield PathSlot(owner, name, PathKind.OUTPUT, node, attribute, False)
        for source in _path_sources(owner, node):
            if not source.is_computed:
                yield PathSlot(
                    source.owner,
                    name,
                    PathKind.FILE,
                    source.holder,
                    source.attribute,
                    used and getattr(source.holder, "show_render", True),
                    reader=owner,
                )


def _path_sources(owner: Any, node: Any) -> Iterator[socket_texts.TextSource]:
    """Yield what the path sockets of a node that imports a file are given."""
    if "Import" in node.bl_idname:
        for socket in node.inputs:
            if "FilePath" in socket.bl_idname:
                yield from socket_texts.text_sources(owner, socket)


def walk_computed_paths() -> Iterator[str | None]:
    """Yield the label of every node that reads a file whose path other nodes put together, and
    None after each tree, as in `walk_slots`."""
    for owner, tree in iterate_node_trees():
        for node in tree.nodes:
            if owner.users and any(source.is_computed for source in _path_sources(owner, node)):
                yield f'Node "{node.name}" of {label_of(owner)}'
        yield None


# --- rewriting on a node -----------------------------------------------------------------------


@dataclass(slots=True)
class RewriteReport:
    """What `rewrite_absolute_paths` did."""

    changed: list[tuple[str, str, str]] = field(default_factory=list)
    """Label, old value and new value of every path that was set."""
    warnings: list[str] = field(default_factory=list)
    """A sentence for every absolute path that lies in none of the folders, or did not reload."""


def rewrite_absolute_paths(mapping: list[tuple[str, str]]) -> RewriteReport:
    """Point every absolute path below an original folder to the same place below the new one.

    ``mapping`` holds (original folder, new folder) pairs; originals may be those of another
    system. Windows originals compare without regard to case and with both separators. Libraries
    go first, since reloading one brings new paths. Output paths are left alone. Names that differ
    only by case or Unicode form from what lies below a new folder are corrected, also in relative
    paths, because Windows and macOS had accepted them.
    """
    report = RewriteReport()
    _rewrite_libraries(mapping, report)
    for slot in list(iterate_slots()):
        if slot.kind in (PathKind.LIBRARY, PathKind.OUTPUT):
            continue
        old = slot.value
        new = _rewritten(slot, mapping, report)
        if new is not None:
            slot.write(new)
            report.changed.append((slot.label, old, new))
    return report


def _rewrite_libraries(mapping: list[tuple[str, str]], report: RewriteReport) -> None:
    for library in bpy.data.libraries:
        if compat.is_packed_library(library) and is_absolute(library.filepath):
            # What was linked lies in this .blend, and still names its files relative to where the
            # library was.
            library.filepath = relocate(library.filepath, mapping) or library.filepath
    # A reload frees the datablocks of the library and may bring further libraries, so nothing is
    # kept from one round to the next but names.
    seen: set[str] = set()
    while True:
        slot = next((s for s in _library_slots() if s.owner.name not in seen), None)
        if slot is None:
            return
        library: Any = slot.owner
        label, old = slot.label, slot.value
        seen.add(library.name)
        new = _rewritten(slot, mapping, report)
        if new is None:
            continue
        slot.write(new)
        seen.add(library.name)
        try:
            library.reload()
        except RuntimeError as error:
            report.warnings.append(f"{label} could not be read from {new!r}: {error}.")
        report.changed.append((label, old, new))


def _rewritten(slot: PathSlot, mapping: list[tuple[str, str]], report: RewriteReport) -> str | None:
    """Return the new value of a slot, None when it stays."""
    value = slot.value
    if not value:
        return None
    if is_absolute(value):
        target = relocate(value, mapping)
        if target is None:
            if slot.needed and not _is_below_any(value, mapping):
                report.warnings.append(
                    f"{slot.label} needs {value!r}, which lies in none of the folders that "
                    f"came with the job."
                )
            return None
    else:
        target = slot.resolved
        if not _is_below_any(target, mapping):
            return None
    spelled = as_spelled(target)
    if is_absolute(value) or spelled != target:
        trailing = "/" if value.endswith(("/", "\\")) else ""
        return spelled + trailing
    return None


def relocate(path: str, mapping: list[tuple[str, str]]) -> str | None:
    """Return where an absolute path lies now; None when no original folder holds it.

    The longest original folder wins. A path that already lies below a new folder stays there.
    """
    if _is_below_any(path, mapping):
        return None
    best: tuple[int, str] | None = None
    for original, new in mapping:
        rest = _below(path, original)
        if rest is not None and (best is None or len(original) > best[0]):
            best = (len(original), os.path.join(new, *rest))
    return None if best is None else best[1]


def _is_below_any(path: str, mapping: list[tuple[str, str]]) -> bool:
    return any(_below(path, new) is not None for _, new in mapping)


def _below(path: str, folder: str) -> list[str] | None:
    """Return the parts of ``path`` below ``folder``, None when it lies elsewhere."""
    windows = is_windows_absolute(folder)
    if windows != is_windows_absolute(path):
        return None
    parts, top = _parts(path, windows), _parts(folder, windows)
    fold = str.casefold if windows else str
    if [fold(part) for part in parts[: len(top)]] != [fold(part) for part in top]:
        return None
    return parts[len(top) :]


def _parts(path: str, windows: bool) -> list[str]:
    text = path.replace("\\", "/") if windows else path
    parts: list[str] = []
    for part in text.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return parts


def as_spelled(path: str) -> str:
    """Return ``path`` with the spelling that its existing part has on disk.

    Only parts that do not exist as given are looked up, by case and Unicode form aside; what
    cannot be found, and tokens such as ``<UDIM>``, stay as they are.
    """
    if os.path.lexists(path):
        return path
    head, tail = os.path.split(path)
    if not tail or head == path:
        return path
    head = as_spelled(head)
    joined = os.path.join(head, tail)
    if os.path.lexists(joined) or not Path(head).is_dir():
        return joined
    wanted = _folded(tail)
    same = sorted(name for name in os.listdir(head) if _folded(name) == wanted)
    return os.path.join(head, same[0]) if same else joined


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
