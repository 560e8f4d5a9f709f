"""Runs in a Blender of its own: one scene seen through a view transform, and how it should look.

python preview_scenes.py FOLDER VIEW LOOK FORMAT DEPTH

Saves FOLDER/scene.blend, set to write FORMAT, and FOLDER/reference.png: the same frame rendered
here and saved by Blender itself through the scene's view settings, as its render window shows it.
"""

import os
import sys

import bpy


def main(folder, view, look, file_format, depth):
    bpy.ops.wm.read_homefile(use_factory_startup=True)
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.samples = 8
    scene.cycles.use_denoising = False
    scene.render.resolution_x, scene.render.resolution_y = 64, 36
    # Bright enough that a view transform makes a difference which no tolerance hides.
    bpy.data.objects["Light"].data.energy = 6000
    bpy.data.objects["Cube"].data.materials[0].node_tree.nodes["Principled BSDF"].inputs[
        "Base Color"
    ].default_value = (0.9, 0.25, 0.05, 1)
    scene.view_settings.view_transform = view
    scene.view_settings.look = look
    scene.view_settings.exposure = 0.7
    settings = scene.render.image_settings
    if hasattr(settings, "media_type"):
        settings.media_type = (
            "MULTI_LAYER_IMAGE" if file_format == "OPEN_EXR_MULTILAYER" else "IMAGE"
        )
    settings.file_format = file_format
    settings.color_depth = depth
    scene.render.filepath = "//out/frame_"
    bpy.ops.wm.save_as_mainfile(filepath=os.path.join(folder, "scene.blend"), compress=False)
    if hasattr(settings, "media_type"):
        settings.media_type = "IMAGE"
    settings.file_format = "PNG"
    settings.color_depth = "8"
    settings.color_mode = "RGB"
    scene.frame_set(1)
    bpy.ops.render.render()
    bpy.data.images["Render Result"].save_render(os.path.join(folder, "reference.png"), scene=scene)


main(*sys.argv[1:])
