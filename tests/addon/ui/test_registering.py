"""Switching the add-on on and off leaves Blender as it was, as often as one likes."""

from __future__ import annotations

import threading
from typing import Any

import bpy
import pytest
import rendermill

pytestmark = pytest.mark.bpy

# Blender's stubs know nothing of what an add-on adds.
context: Any = bpy.context
ops: Any = bpy.ops
types: Any = bpy.types


def traces() -> set[str]:
    """Every class, property and timer of ours that Blender knows."""
    found = {name for name in dir(bpy.types) if name.startswith("RENDERMILL_")}
    for owner in (types.Scene, types.WindowManager):
        if hasattr(owner, "rendermill"):
            found.add(f"{owner.__name__}.rendermill")
    found |= {thread.name for thread in threading.enumerate() if "rendermill" in thread.name}
    for draw in types.TOPBAR_MT_render._dyn_ui_initialize():
        if "rendermill" in type(draw).__module__ or "rendermill" in getattr(draw, "__module__", ""):
            found.add("menu")
    return found


def test_on_and_off_twice():
    before = traces()
    for _ in range(2):
        rendermill.register()
        assert "Scene.rendermill" in traces()
        assert "menu" in traces()
        assert hasattr(ops.rendermill, "render_animation")
        rendermill.unregister()
        assert traces() == before


def test_off_without_on_is_harmless():
    rendermill.unregister()
    rendermill.unregister()


def test_a_failed_start_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch):
    from rendermill.addon.ui import menus

    before = traces()

    def fail() -> None:
        raise RuntimeError("no menu")

    monkeypatch.setattr(menus, "register", fail)
    with pytest.raises(RuntimeError, match="no menu"):
        rendermill.register()
    assert traces() == before


class Recorder:
    """A layout that writes down what is drawn into it."""

    def __init__(self) -> None:
        self.drawn: list[str] = []
        self.operator_context = "INVOKE_DEFAULT"

    def operator(self, name: str, **_: Any) -> Any:
        self.drawn.append(name)
        return type("Properties", (), {})()

    def separator(self, **_: Any) -> None:
        self.drawn.append("-")

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: self.drawn.append(name)


class RenderMenu:
    """The Render menu as its own code sees it."""

    bl_owner_use_filter = False

    def __init__(self) -> None:
        self.layout = Recorder()


def drawn_menu() -> list[str]:
    menu = RenderMenu()
    types.TOPBAR_MT_render.draw(menu, context)
    return menu.layout.drawn


def test_the_entries_stand_directly_under_blenders_own():
    rendermill.register()
    try:
        assert drawn_menu()[:5] == [
            "render.render",
            "render.render",
            "rendermill.render_image",
            "rendermill.render_animation",
            "-",
        ]
    finally:
        rendermill.unregister()
    assert "rendermill.render_image" not in drawn_menu()


def test_entries_of_other_add_ons_stay():
    def other(menu: Any, _context: Any) -> None:
        menu.layout.operator("other.one")

    rendermill.register()
    types.TOPBAR_MT_render.prepend(other)
    try:
        rendermill.unregister()
        assert drawn_menu()[0] == "other.one"
        rendermill.register()
        assert drawn_menu()[3] == "rendermill.render_image"
        rendermill.unregister()
    finally:
        types.TOPBAR_MT_render.remove(other)


@pytest.mark.parametrize(
    ("operator", "label"),
    [
        ("render_animation", "Render Animation on Farm"),
        ("render_image", "Render Image on Farm"),
    ],
)
def test_operators_have_their_labels_and_properties(addon: object, operator: str, label: str):
    rna = getattr(ops.rendermill, operator).get_rna_type()
    assert rna.name == label
    assert rna.description
    names = {"frames", "job_name", "priority", "send_anyway", "deliver", "wait"}
    assert names <= set(rna.properties.keys())
    assert all(rna.properties[name].description for name in names)


def test_options_are_saved_and_trust_is_not(addon: object, tmp_path: Any):
    path = str(tmp_path / "options.blend")
    context.scene.rendermill.priority = 80
    context.window_manager.rendermill.trust_scripts = True
    ops.wm.save_as_mainfile(filepath=path)
    ops.wm.read_factory_settings()
    assert not context.window_manager.rendermill.trust_scripts
    context.window_manager.rendermill.trust_scripts = True
    ops.wm.open_mainfile(filepath=path)
    assert context.scene.rendermill.priority == 80
    assert not context.window_manager.rendermill.trust_scripts
