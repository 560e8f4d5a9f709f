"""Rendermill: the render farm that a Blender artist gets by pressing a button.

One source serves as the pip package ``rendermill`` and as the Blender extension, so nothing heavy
is imported here: Blender calls `register` and `unregister`, everything else imports what it needs.
"""

from __future__ import annotations

__version__ = "0.1.0"


def register() -> None:
    """Called by Blender when the extension is enabled."""
    from .addon import ui

    ui.register()


def unregister() -> None:
    """Called by Blender when the extension is disabled."""
    from .addon import ui

    ui.unregister()
