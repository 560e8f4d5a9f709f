"""Files that are read because of another file, and which of them still belong to it."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rendermill.addon.scene import usd_layers
from rendermill.addon.scene.companions import companions_of, texture_caches
from rendermill.addon.scene.dependencies import find_dependencies
from rendermill.addon.scene.listings import Listings

bpy: Any = importlib.import_module("bpy")
pytestmark = pytest.mark.bpy
Found = Callable[[], set[str]]

HAS_USD_FOR_PYTHON = hasattr(bpy.utils, "expose_bundled_modules")


def names(workshop: Any, paths: list[str]) -> list[str]:
    return [Path(path).relative_to(workshop.folder).as_posix() for path in paths]


def age(path: Path, seconds: float) -> None:
    """Set the time at which a file was modified."""
    os.utime(path, (1_000_000_000 + seconds,) * 2)


# --- shaders -----------------------------------------------------------------------------------


def test_a_shader_brings_what_it_includes(workshop: Any):
    main = workshop.text(
        "osl/main.osl", '#include "lib/a.h"\n  # include <stdosl.h>\nshader s() {}'
    )
    workshop.text("osl/lib/a.h", '#include "b.h"\n#include "a.h"\n#include "gone.h"\n')
    workshop.text("osl/lib/b.h", '#include "../main.osl"\n')
    workshop.text("osl/stray.h")
    found = companions_of(str(main), Listings())
    assert names(workshop, found.files) == ["osl/lib/a.h", "osl/lib/b.h"]
    assert (found.missing, found.warnings) == ([], [])


@pytest.mark.parametrize(
    ("source", "header", "compiled", "goes"),
    [(10, 10, 10, True), (10, 10, 20, True), (10.9, 10, 10, True), (30, 10, 20, False)],
    ids=["same", "newer", "same-second", "older-than-shader"],
)
def test_a_compiled_shader_that_is_out_of_date_stays(
    workshop: Any, source: float, header: float, compiled: float, goes: bool
):
    main = workshop.text("osl/main.osl", '#include "a.h"\n')
    age(main, source)
    age(workshop.text("osl/a.h"), header)
    age(workshop.text("osl/main.oso"), compiled)
    found = companions_of(str(main), Listings())
    assert ("osl/main.oso" in names(workshop, found.files)) == goes
    assert bool(found.warnings) != goes


# --- texture caches ----------------------------------------------------------------------------


def test_a_texture_cache_goes_with_the_picture_it_was_made_of(workshop: Any):
    pictures = [workshop.png(f"t/{name}") for name in ("a.png", "a.b.png", "late.png", "bare.png")]
    for picture in pictures:
        age(picture, 10.7)
    for name, time in (
        ("a.png.0-AB12.tx", 10),
        ("a.png.1-CD34.tx", 10),
        ("a.b.png.0-AB12.tx", 10),
        ("late.png.0-AB12.tx", 11),
        ("nobody.png.0-AB12.tx", 10),
        ("notes.txt", 10),
    ):
        age(workshop.text(f"t/blender_tx/{name}"), time)
    found = texture_caches(map(str, pictures), Listings())
    assert names(workshop, found) == [
        "t/blender_tx/a.png.0-AB12.tx",
        "t/blender_tx/a.png.1-CD34.tx",
        "t/blender_tx/a.b.png.0-AB12.tx",
    ]


@pytest.mark.skipif(bpy.app.version < (5, 2, 0), reason="texture caches came with Blender 5.2")
def test_what_blender_makes_is_found(workshop: Any, found: Found, cycles_scene: Any):
    pictures = [workshop.png(f"t/{name}") for name in ("one.png", "u.1001.png", "u.1002.png")]
    workshop.save()
    one = bpy.data.images.load(str(pictures[0]))
    tiled = bpy.data.images.load(str(pictures[1]))
    tiled.source, tiled.filepath = "TILED", "//t/u.<UDIM>.png"
    tiled.tiles.new(1002)
    material = bpy.data.materials.new("m")
    for image in (one, tiled):
        material.node_tree.nodes.new("ShaderNodeTexImage").image = image
    bpy.context.object.data.materials.append(material)
    bpy.ops.render.generate_texture_cache()
    made = {path.relative_to(workshop.folder).as_posix() for path in workshop.folder.rglob("*.tx")}
    assert len(made) == 3
    assert made < found()
    cycles_scene.render.use_texture_cache = False
    assert not made & found()


# --- USD ---------------------------------------------------------------------------------------


ROOT_LAYER = """#usda 1.0
(
    subLayers = [@./parts/over.usda@, @gone.usda@]
)
def Xform "A" (
    references = @parts/geo.{kind}@</G>
    payload = @{absolute}@</G>
)
{{
    uniform asset inputs:file = @./wood.png@
}}
"""
LAYER = '#usda 1.0\ndef Xform "G"\n{\n}\n'


def usd_file(workshop: Any, kind: str) -> Path:
    """A layer that refers to others, of which one, of this ``kind``, refers to deep.usda."""
    for name in ("parts/over.usda", "parts/more/deep.usda", "apart.usda"):
        workshop.text(name, LAYER)
    if kind == "usda":
        workshop.text(
            "parts/geo.usda", LAYER.replace('"G"', '"G" (\n references = @more/deep.usda@</G>\n)')
        )
    else:
        bpy.utils.expose_bundled_modules()
        sdf: Any = importlib.import_module("pxr.Sdf")
        layer = sdf.Layer.CreateNew(str(workshop.path("parts/geo.usdc")))
        prim = sdf.CreatePrimInLayer(layer, "/G")
        prim.specifier = sdf.SpecifierDef
        prim.referenceList.Prepend(sdf.Reference("./more/deep.usda", "/G"))
        layer.Save()
    workshop.png("wood.png")
    text = ROOT_LAYER.format(kind=kind, absolute=workshop.folder / "apart.usda")
    return workshop.text("root.usda", text)


@pytest.mark.parametrize("kind", ["usda", "usdc"])
def test_a_usd_file_brings_its_layers(workshop: Any, kind: str):
    if kind == "usdc" and not HAS_USD_FOR_PYTHON:
        pytest.skip("this Blender brings no USD for Python, and binary layers are not followed")
    path = str(usd_file(workshop, kind))
    layers = usd_layers.layers_of(path)
    expected = ["apart.usda", f"parts/geo.{kind}", "parts/more/deep.usda", "parts/over.usda"]
    assert sorted(names(workshop, layers.files)) == expected
    assert names(workshop, layers.missing) == ["gone.usda"]
    (warning,) = layers.warnings
    assert str(workshop.folder / "apart.usda") in warning


def test_layers_are_found_without_usd_too(workshop: Any, monkeypatch: pytest.MonkeyPatch):
    path = str(usd_file(workshop, "usda"))
    told = usd_layers.layers_of(path)
    monkeypatch.delattr(bpy.utils, "expose_bundled_modules", raising=False)
    text = usd_layers.layers_of(path)
    assert sorted(text.files) == sorted(told.files)
    assert (text.missing, text.warnings) == (told.missing, told.warnings)


@pytest.mark.skipif(not HAS_USD_FOR_PYTHON, reason="this Blender brings no USD for Python")
def test_value_clips_are_layers(workshop: Any):
    for number in (1, 2):
        workshop.text(f"clips/c.{number:03}.usda", LAYER)
    path = workshop.text(
        "root.usda",
        """#usda 1.0
def Xform "A" (
    clips = {
        dictionary default = {
            string templateAssetPath = "./clips/c.###.usda"
            double templateStartTime = 1
            double templateEndTime = 2
            double templateStride = 1
            string primPath = "/G"
        }
    }
)
{
}
""",
    )
    layers = usd_layers.layers_of(str(path))
    assert names(workshop, layers.files) == ["clips/c.001.usda", "clips/c.002.usda"]


def test_a_broken_layer_hides_none_of_the_others(workshop: Any):
    path = str(usd_file(workshop, "usda"))
    workshop.text("parts/over.usda", "#usda 1.0\nthis is no layer")
    assert {"parts/geo.usda", "parts/over.usda", "parts/more/deep.usda"} <= set(
        names(workshop, usd_layers.layers_of(path).files)
    )


def test_what_is_no_usd_has_no_layers(workshop: Any):
    assert usd_layers.layers_of(str(workshop.text("junk.usda", "junk"))) == usd_layers.Companions()
    assert usd_layers.layers_of(str(workshop.folder / "gone.usdc")) == usd_layers.Companions()


def test_layers_of_a_cache_file_are_dependencies(workshop: Any, found: Found):
    path = usd_file(workshop, "usda")
    workshop.save()
    bpy.ops.wm.read_factory_settings(use_empty=True)
    workshop.save()
    bpy.ops.cachefile.open(filepath=str(path))
    bpy.data.cache_files[0].use_fake_user = True
    assert "parts/more/deep.usda" in found()
    gone = [item for item in find_dependencies().missing if item.source.name == "gone.usda"]
    assert [item.user for item in gone] == ['Cache file "root.usda"']
