"""Runs in a Blender of its own: the scenes that a real node renders for the page.

python real_scenes.py FOLDER

Saves quick.blend (a frame takes no time), slow.blend (a frame takes seconds: time to do something
to it), exr.blend (a bright scene under a view transform, written as OpenEXR) with reference.png (as
Blender's own render window shows frame 1 of it), and script.blend (its text block would leave
``ran`` in FOLDER).
"""

import os
import sys
from pathlib import Path

import bpy

SIZE = (48, 32)


def scene_with(samples):
    bpy.ops.wm.read_homefile(use_factory_startup=True)
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.samples = samples
    scene.cycles.use_denoising = False
    scene.cycles.use_adaptive_sampling = False
    scene.render.resolution_x, scene.render.resolution_y = SIZE
    scene.render.filepath = "//out/f_####"
    scene.frame_start, scene.frame_end = 1, 3
    cube = bpy.data.objects["Cube"]
    for frame, turn in ((1, 0.0), (100, 3.0)):
        cube.rotation_euler.z = turn
        cube.keyframe_insert("rotation_euler", frame=frame)
    return scene


def save(folder, name):
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / name), compress=False)


def main(folder):
    scene_with(1)
    save(folder, "quick.blend")
    scene_with(8_000)
    save(folder, "slow.blend")

    scene_with(1)
    marker = str(folder / "ran")
    text = bpy.data.texts.new("start.py")
    text.use_module = True
    text.write(f"import pathlib\npathlib.Path({marker!r}).touch()\n")
    save(folder, "script.blend")

    scene = scene_with(8)
    bpy.data.objects["Light"].data.energy = 6000
    shader = bpy.data.objects["Cube"].data.materials[0].node_tree.nodes["Principled BSDF"]
    shader.inputs["Base Color"].default_value = (0.9, 0.25, 0.05, 1)
    scene.view_settings.view_transform = "AgX"
    scene.view_settings.exposure = 0.7
    scene.render.image_settings.file_format = "OPEN_EXR"
    save(folder, "exr.blend")
    scene.render.image_settings.file_format = "PNG"
    scene.render.image_settings.color_mode = "RGB"
    scene.frame_set(1)
    bpy.ops.render.render()
    reference = str(folder / "reference.png")
    bpy.data.images["Render Result"].save_render(reference, scene=scene)


main(Path(sys.argv[-1]))
sys.stdout.flush()
os._exit(0)
