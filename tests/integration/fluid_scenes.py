"""Baked fluids, made and rendered by a Blender that can bake them; run inside it, by a test.

    blender -b --factory-startup -P fluid_scenes.py -- bake FOLDER KIND     bake FOLDER/shot.blend
    blender -b --factory-startup -P fluid_scenes.py -- render BLEND PICTURE render its frame
    blender -b --factory-startup -P fluid_scenes.py -- without BLEND PICTURE PATH ...
        render once for each file, while that file is away, to PICTURE with its number
    blender -b --factory-startup -P fluid_scenes.py -- trace BLEND ANSWER
        write which files are needed, ``all`` and those for the frame (``cut``)

The `bpy` wheels end as soon as they see a fluid domain that plays.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

bpy: Any = importlib.import_module("bpy")

LAST, SHOWN = 6, 4
"""Frames: the bake goes from 1 to ``LAST``, the picture is of ``SHOWN``."""


def cube(size: float, fluid: str) -> tuple[Any, Any]:
    bpy.ops.mesh.primitive_cube_add(size=size)
    item = bpy.context.object
    modifier = item.modifiers.new("Fluid", "FLUID")
    modifier.fluid_type = fluid
    return item, modifier


def domain(kind: str) -> tuple[Any, Any]:
    item, modifier = cube(2, "DOMAIN")
    settings = modifier.domain_settings
    settings.domain_type = "LIQUID" if "liquid" in kind else "GAS"
    settings.resolution_max = 16
    settings.cache_directory = "//cache of the fluid/"
    settings.cache_type = (
        "REPLAY" if "replay" in kind else "ALL" if "at_once" in kind else "MODULAR"
    )
    settings.cache_resumable = "resumable" in kind
    settings.cache_frame_start, settings.cache_frame_end = 1, LAST
    settings.use_noise = "noise" in kind
    settings.use_mesh = "mesh" in kind
    settings.use_foam_particles = settings.use_spray_particles = "particles" in kind
    if "guided" in kind:
        settings.use_guide, settings.guide_source = True, "EFFECTOR"
        _, guide = cube(0.6, "EFFECTOR")
        guide.effector_settings.effector_type = "GUIDE"
    return item, settings


def show(item: Any, is_gas: bool) -> None:
    """Let the fluid be seen: gas by Workbench, because Debian's Cycles renders no volumes."""
    if is_gas:
        bpy.context.scene.render.engine = "BLENDER_WORKBENCH"
        return
    material = bpy.data.materials.new("fluid")
    tree = material.node_tree
    tree.nodes.clear()
    glow = tree.nodes.new("ShaderNodeEmission")
    normal = tree.nodes.new("ShaderNodeNewGeometry").outputs["Normal"]
    tree.links.new(normal, glow.inputs["Color"])
    sink = tree.nodes.new("ShaderNodeOutputMaterial")
    tree.links.new(glow.outputs[0], sink.inputs["Surface"])
    item.data.materials.append(material)


def bake(folder: str, kind: str) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.engine, scene.cycles.device = "CYCLES", "CPU"
    scene.cycles.samples, scene.cycles.use_denoising = 2, False
    scene.render.resolution_x = scene.render.resolution_y = 32
    scene.render.resolution_percentage = 100
    scene.frame_start, scene.frame_end = 1, LAST
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    camera.location = (0, 0, 6)
    scene.collection.objects.link(camera)
    scene.camera = camera
    bpy.ops.wm.save_as_mainfile(filepath=str(Path(folder, "shot.blend")), compress=False)
    item, settings = domain(kind)
    _, flow = cube(0.5, "FLOW")
    is_gas = settings.domain_type == "GAS"
    flow.flow_settings.flow_type = "SMOKE" if is_gas else "LIQUID"
    flow.flow_settings.flow_behavior = "INFLOW"
    flow.flow_settings.use_initial_velocity = True
    flow.flow_settings.velocity_coord = (0.5, 1.0, 0.5)
    for other in scene.objects:
        other.hide_render = other.type == "MESH" and other != item
    show(item, is_gas)
    bpy.context.view_layer.objects.active = item
    with bpy.context.temp_override(active_object=item, object=item, selected_objects=[item]):
        if settings.cache_type == "REPLAY":
            for frame in range(1, LAST + 1):
                scene.frame_set(frame)
        elif settings.cache_type == "ALL":
            bpy.ops.fluid.bake_all()
        else:
            steps = {
                "bake_guides": "guided" in kind,
                "bake_data": True,
                "bake_noise": settings.use_noise,
                "bake_mesh": settings.use_mesh,
                "bake_particles": "particles" in kind,
            }
            for step, is_wanted in steps.items():
                if is_wanted:
                    getattr(bpy.ops.fluid, step)()
    scene.frame_set(SHOWN)
    bpy.ops.wm.save_mainfile(compress=False)


def render(blend: str, picture: str) -> None:
    bpy.ops.wm.open_mainfile(filepath=blend, load_ui=False)
    scene = bpy.context.scene
    scene.render.filepath = f"{picture.removesuffix('.png')}_####"
    scene.frame_start = scene.frame_end = SHOWN
    bpy.ops.render.render(animation=True)
    Path(f"{picture.removesuffix('.png')}_{SHOWN:04}.png").rename(picture)


def without(blend: str, picture: str, *files: str) -> None:
    for number, name in enumerate(files):
        file, away = Path(name), Path(name).with_suffix(".away")
        file.rename(away)
        render(blend, picture.replace(".png", f"{number}.png"))
        away.rename(file)


def trace(blend: str, answer: str) -> None:
    # By location: the Python of this Blender knows no packages.
    root = Path(__file__).parents[2]
    spec = importlib.util.spec_from_file_location(
        "rendermill", root / "__init__.py", submodule_search_locations=[str(root)]
    )
    assert spec is not None
    assert spec.loader is not None
    package = sys.modules["rendermill"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
    from rendermill.addon.scene.cache_frames import spans_of
    from rendermill.addon.scene.dependencies import find_dependencies

    bpy.ops.wm.open_mainfile(filepath=blend, load_ui=False)
    spans = spans_of(bpy.context.scene, (SHOWN,))
    told = {"all": [*find_dependencies().files], "cut": [*find_dependencies(spans).files]}
    Path(answer).write_text(json.dumps(told), "utf-8")


if __name__ == "__main__":
    what, *words = sys.argv[sys.argv.index("--") + 1 :]
    {"bake": bake, "render": render, "without": without, "trace": trace}[what](*words)
    sys.stdout.write("\nBAKED AND WELL\n")
    sys.stdout.flush()
    os._exit(0)
