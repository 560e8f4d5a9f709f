"""What the artist sees in Blender: menu entries, panel, preferences, and the pump behind them.

Only `register` and `unregister` are called from outside, by Blender; both may be repeated. Nothing
here waits for the network: `pump` carries commands to the farm's thread and events back.
"""

from __future__ import annotations

from typing import Any


def register() -> None:
    """Make the add-on part of this Blender. Leaves nothing behind when it fails."""
    import bpy

    from . import menus, pictures, properties, pump, survey, viewer

    try:
        for cls in _classes():
            bpy.utils.register_class(cls)
        properties.register()
        pictures.register()
        menus.register()
        viewer.register()
        survey.register()
        pump.register()
    except BaseException:
        unregister()
        raise


def unregister() -> None:
    """Take every trace of the add-on out of this Blender and end its thread."""
    import bpy

    from . import menus, pictures, properties, pump, render_operators, survey, viewer

    pump.unregister()
    survey.unregister()
    viewer.unregister()
    menus.unregister()
    pictures.unregister()
    properties.unregister()
    render_operators.last_packing = None
    for cls in reversed(_classes()):
        if cls.is_registered:
            bpy.utils.unregister_class(cls)


def _classes() -> list[Any]:
    """Every class, in the order in which Blender must hear of them: parents first."""
    from . import (
        farm_operators,
        job_panels,
        node_operators,
        panels,
        preferences,
        properties,
        render_operators,
        scene_operators,
        upkeep,
    )

    modules = (
        *(preferences, properties, render_operators, farm_operators, scene_operators),
        *(node_operators, upkeep, panels, job_panels),
    )
    return [cls for module in modules for cls in module.CLASSES]
