"""Where a text socket of a node gets its text, in trees and through the groups they use.

Imports bpy, the standard library and `compat` only: its source text becomes a part of the script
that a node feeds to its own Blender.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import bpy

from . import compat

GROUPS_DEEP_MAX = 20
"""Groups inside groups; Blender itself warns of fewer."""


@dataclass(frozen=True, slots=True)
class TextSource:
    """One place that a text comes from."""

    owner: bpy.types.ID
    """Datablock that the place is in."""
    holder: Any | None
    """What has the property: socket, String node, or Geometry Nodes modifier for an input of it;
    None where nodes put the text together."""
    attribute: str = ""

    @property
    def is_computed(self) -> bool:
        """Whether the text is known only when the nodes run."""
        return self.holder is None


def text_sources(owner: Any, socket: Any, deep: int = 0) -> Iterator[TextSource]:
    """Yield every place that ``socket``, in the tree of ``owner``, gets a text from.

    Several, where the tree is a group with several users; none where nothing is given.
    """
    if not socket.is_linked:
        if socket.default_value:
            yield TextSource(owner, socket, "default_value")
        return
    source = socket.links[0].from_socket
    node = source.node
    if node.bl_idname == "NodeReroute":
        yield from text_sources(owner, node.inputs[0], deep) if node.inputs[0].is_linked else ()
    elif node.bl_idname == "FunctionNodeInputString":
        if node.string:
            yield TextSource(owner, node, "string")
    elif node.bl_idname == "NodeGroupInput":
        if deep < GROUPS_DEEP_MAX:
            yield from _given_to_group(node.id_data, source.identifier, deep + 1)
    else:
        yield TextSource(owner, None)


def _given_to_group(group: Any, identifier: str, deep: int) -> Iterator[TextSource]:
    objects: Any = bpy.data.objects
    for item in objects:
        for modifier in item.modifiers:
            if modifier.type == "NODES" and modifier.node_group == group:
                value = compat.modifier_input(modifier, identifier)
                if isinstance(value, str) and value:
                    yield TextSource(item, modifier, identifier)
    for tree in bpy.data.node_groups:
        for node in tree.nodes:
            if getattr(node, "node_tree", None) == group:
                given = next((one for one in node.inputs if one.identifier == identifier), None)
                if given is not None:
                    yield from text_sources(tree, given, deep)
