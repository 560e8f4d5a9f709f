"""Code that a scene needs and that does not run on the farm: its own Python, and add-ons."""

# ruff: noqa: ARG001 - every check takes the same two arguments, whichever it needs

from __future__ import annotations

from typing import Any

import bpy

from ...protocol.scene import CapturedScene
from . import embedded_python
from .findings import Finding, Findings, Severity, count_of, listed
from .paths import iterate_node_trees, label_of
from .steps import PAUSE

_CHANGES_FRAMES = (
    *("frame_change_pre", "frame_change_post", "render_pre", "render_init"),
    *("depsgraph_update_pre", "depsgraph_update_post"),
)
"""Handlers by which an add-on may change what a frame shows."""

_BLENDERS_OWN = ("bpy", "bl_", "_bl", "cycles", "rna_", "keyingsets", "_bpy")
"""Beginnings of the names of modules that every Blender brings along."""


def check_python(scene: Any, captured: CapturedScene) -> Findings:
    """Python in the file is blocked on nodes unless the artist vouches for it."""
    if captured.spec.trust_scripts:
        return
    drivers = yield from embedded_python.blocked_drivers()
    if drivers:
        names = listed([f"{who} ({expression})" for who, expression in drivers])
        yield Finding(
            Severity.ERROR,
            f"{count_of(len(drivers), 'driver needs', 'drivers need')} Python: {names}.",
            "Python in the file does not run on the farm, so they keep their last value.",
            "Write them as simple expressions, or trust the scripts of this file.",
            id="python_drivers",
        )
    texts = list(embedded_python.registered_texts())
    if texts:
        yield Finding(
            Severity.WARNING,
            f"{listed(texts)} would run when the file is opened.",
            "Python in the file does not run on the farm.",
            "If frames depend on it, trust the scripts of this file.",
            id="python_texts",
        )
    modules = list(embedded_python.freestyle_scripts(scene))
    if modules:
        yield Finding(
            Severity.ERROR,
            f"Freestyle runs {listed(modules)}.",
            "Python in the file does not run on the farm.",
            "Trust the scripts of this file, or use Freestyle's parameter editor.",
            id="python_freestyle",
        )


def check_add_ons(scene: Any, captured: CapturedScene) -> Findings:
    """Nodes and handlers of add-ons: no node of the farm has those installed."""
    yield from _foreign_nodes()
    yield from _foreign_handlers()


def _foreign_nodes() -> Findings:
    found: dict[str, list[str]] = {}
    lost: list[str] = []
    for owner, tree in iterate_node_trees():
        yield PAUSE
        if owner.users == 0:
            continue
        add_on = _add_on_of(type(tree))
        if add_on:
            found.setdefault(add_on, []).append(label_of(owner))
            continue
        for node in tree.nodes:
            label = f'Node "{node.name}" of {label_of(owner)}'
            if node.bl_idname == "NodeUndefined":
                lost.append(label)
            elif add_on := _add_on_of(type(node)):
                found.setdefault(add_on, []).append(label)
    for add_on, users in sorted(found.items()):
        yield Finding(
            Severity.ERROR,
            f"{listed(users)} needs the add-on {add_on}.",
            "Nodes of the farm have no add-ons, and render without it.",
            "Apply or bake what it makes, or use nodes of Blender itself.",
            id="add_on_nodes",
        )
    if lost:
        yield Finding(
            Severity.ERROR,
            f"{listed(lost)} is of a kind that this Blender does not know.",
            "It belongs to an add-on that is not installed, or to another version; nodes of the "
            "farm do not know it either.",
            "Remove it, or install the add-on and apply what it makes.",
            id="unknown_nodes",
        )


def _foreign_handlers() -> Findings:
    found: dict[str, set[str]] = {}
    for name in _CHANGES_FRAMES:
        for handler in getattr(bpy.app.handlers, name):
            module = getattr(handler, "__module__", None) or ""
            # Those of texts in the file are said by `check_python`.
            add_on = "" if module.endswith(("__main__", ".py")) else _add_on_named(module)
            if add_on:
                found.setdefault(add_on, set()).add(name)
    for add_on, names in sorted(found.items()):
        yield Finding(
            Severity.WARNING,
            f"The add-on {add_on} takes part in every frame ({', '.join(sorted(names))}).",
            "Nodes of the farm have no add-ons. If it changes what is seen, their frames differ.",
            "Bake what it makes into keyframes, or send the scene all the same if it only watches.",
            id="add_on_handlers",
        )


def _add_on_of(kind: type) -> str:
    """Return the add-on that registered a type of nodes or trees, '' for those of Blender."""
    # Classes of Blender itself are made by it and lie in `bpy.types`.
    return _add_on_named(kind.__module__)


def _add_on_named(module: str) -> str:
    """Return the name of the add-on that a module belongs to, '' for a part of Blender or us."""
    mine = (__package__ or "").removesuffix(".addon.scene")
    if not module or module == mine or module.startswith(mine + "."):
        return ""
    if module.startswith("bl_ext."):
        # bl_ext.<repository>.<add-on>.<module>
        return ".".join(module.split(".")[2:3]) or module
    if module.startswith(_BLENDERS_OWN) or module in ("nodeitems_builtins", "builtins"):
        return ""
    return module.partition(".")[0]
