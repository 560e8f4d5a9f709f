"""What the artist sees in Blender: menu entries, panel, preferences, and the pump behind them.

Only `register` and `unregister` are called from outside, by Blender; both may be repeated. Nothing
here waits for the network: `pump` carries commands to the farm's thread and events back.
"""

from __future__ import annotations


def register() -> None:
    """Make the add-on part of this Blender. Leaves nothing behind when it fails."""
    import bpy

    from . import (
        farm_operators,
        menus,
        panels,
        pictures,
        preferences,
        properties,
        pump,
        render_operators,
    )

    try:
        for module in (preferences, properties, render_operators, farm_operators, panels):
            for cls in module.CLASSES:
                bpy.utils.register_class(cls)
        properties.register()
        pictures.register()
        menus.register()
        pump.register()
    except BaseException:
        unregister()
        raise


def unregister() -> None:
    """Take every trace of the add-on out of this Blender and end its thread."""
    import bpy

    from . import (
        farm_operators,
        menus,
        panels,
        pictures,
        preferences,
        properties,
        pump,
        render_operators,
    )

    pump.unregister()
    menus.unregister()
    pictures.unregister()
    properties.unregister()
    render_operators.last_packing = None
    for module in (panels, farm_operators, render_operators, properties, preferences):
        for cls in reversed(module.CLASSES):
            if cls.is_registered:
                bpy.utils.unregister_class(cls)
