"""Runs in a Blender of its own: makes scenes, and renders them the way a bare Blender would.

python scenes.py make FOLDER            every scene of SCENES into FOLDER
python scenes.py direct BLEND FRAMES    renders in place, into the output path of the scene
python scenes.py film MOVIE             prints frames, width and height of a film
"""

import os
import sys

import bpy

NEW_COMPOSITOR = bpy.app.version >= (5, 0, 0)
SIZE = (32, 18)


def fresh(engine="CYCLES"):
    bpy.ops.wm.read_homefile(use_factory_startup=True)
    scene = bpy.context.scene
    scene.render.engine = engine
    scene.render.resolution_x, scene.render.resolution_y = SIZE
    scene.frame_start, scene.frame_end = 1, 3
    scene.render.filepath = "//out/frame_"
    if engine == "CYCLES":
        scene.cycles.samples = 2
        scene.cycles.use_denoising = False
    cube = bpy.data.objects["Cube"]
    for frame in (-10, 20):
        cube.rotation_euler.z = frame * 0.1
        cube.keyframe_insert("rotation_euler", frame=frame)
    return scene, cube


def save(folder, name):
    bpy.ops.wm.save_as_mainfile(filepath=os.path.join(folder, name + ".blend"), compress=False)


def picture(path, colour):
    image = bpy.data.images.new("made", 8, 8)
    image.pixels = list(colour) * 64
    image.filepath_raw, image.file_format = path, "PNG"
    image.save()
    bpy.data.images.remove(image)


def textured(cube, path, **settings):
    material = cube.data.materials[0]
    node = material.node_tree.nodes.new("ShaderNodeTexImage")
    node.image = bpy.data.images.load(path)
    for name, value in settings.items():
        setattr(node.image_user, name, value)
    shader = material.node_tree.nodes["Principled BSDF"]
    material.node_tree.links.new(node.outputs["Color"], shader.inputs["Base Color"])
    return node


def plain(folder):
    fresh()
    bpy.context.scene.render.filepath = "//out/a_##_b"
    save(folder, "plain")


def moving(folder):
    """All that persistent data must notice from frame to frame."""
    scene, cube = fresh()
    for index in range(1, 4):
        picture(os.path.join(folder, f"seq_{index:03}.png"), (index / 3, 0.2, 1 - index / 3, 1))
    node = textured(
        cube, os.path.join(folder, "seq_001.png"), frame_duration=3, use_auto_refresh=True
    )
    node.image.source = "SEQUENCE"
    cube.modifiers.new("Subdivision", "SUBSURF").render_levels = 2
    cube.modifiers.new("Wave", "WAVE")
    bpy.ops.mesh.primitive_monkey_add(location=(2, 0, 1))
    monkey = bpy.context.object
    for frame, hidden in ((1, True), (2, False)):
        monkey.hide_render = hidden
        monkey.keyframe_insert("hide_render", frame=frame)
    lamp = bpy.data.objects["Light"].data
    for frame, energy in ((1, 100), (3, 3000)):
        lamp.energy = energy
        lamp.keyframe_insert("energy", frame=frame)
    camera = scene.camera.copy()
    scene.collection.objects.link(camera)
    camera.location.z += 2
    scene.timeline_markers.new("first", frame=1).camera = scene.camera
    scene.timeline_markers.new("second", frame=3).camera = camera
    scene.render.use_motion_blur = True
    save(folder, "moving")


def range_reader(folder):
    """A turntable: a driver reads the last frame of the scene."""
    scene, cube = fresh()
    cube.animation_data_clear()
    curve = cube.driver_add("rotation_euler", 2)
    for name, path in (("f", "frame_current"), ("e", "frame_end")):
        variable = curve.driver.variables.new()
        variable.name, variable.type = name, "SINGLE_PROP"
        target = variable.targets[0]
        target.id_type, target.id, target.data_path = "SCENE", scene, path
    curve.driver.expression = "f / e"
    save(folder, "range_reader")


def layers(folder):
    """Two view layers in a multilayer EXR."""
    scene, _ = fresh()
    scene.view_layers.new("Second")
    settings = scene.render.image_settings
    if hasattr(settings, "media_type"):
        settings.media_type = "MULTI_LAYER_IMAGE"
    settings.file_format = "OPEN_EXR_MULTILAYER"
    save(folder, "layers")


def outputs(folder):
    """Two File Output nodes: single pictures, and a multilayer file with a name."""
    scene, _ = fresh()
    if NEW_COMPOSITOR:
        tree = bpy.data.node_groups.new("Compositing", "CompositorNodeTree")
        scene.compositing_node_group = tree
        tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
        end = tree.nodes.new("NodeGroupOutput")
    else:
        scene.use_nodes = True
        tree = scene.node_tree
        tree.nodes.clear()
        end = tree.nodes.new("CompositorNodeComposite")
    start = tree.nodes.new("CompositorNodeRLayers")
    tree.links.new(start.outputs["Image"], end.inputs[0])
    first = tree.nodes.new("CompositorNodeOutputFile")
    first.name = "Pictures"
    second = tree.nodes.new("CompositorNodeOutputFile")
    second.name = "Layers"
    if NEW_COMPOSITOR:
        first.directory, first.file_name = "//passes", "beauty_"
        first.format.media_type = "IMAGE"
        first.format.file_format = "PNG"
        first.file_output_items.new("RGBA", "image")
        second.directory, second.file_name = "//deep", "all_"
        second.file_output_items.new("RGBA", "Image")
    else:
        first.base_path = "//passes"
        first.format.file_format = "PNG"
        first.file_slots[0].path = "sub/beauty_"
        second.format.file_format = "OPEN_EXR_MULTILAYER"
        second.base_path = "//deep/all_"
    for node in (first, second):
        tree.links.new(start.outputs["Image"], node.inputs[0])
    idle = tree.nodes.new("CompositorNodeOutputFile")
    idle.name = "Unlinked"
    save(folder, "outputs")


def stereo(folder):
    scene, _ = fresh()
    scene.render.use_multiview = True
    scene.render.views_format = "STEREO_3D"
    scene.render.image_settings.views_format = "INDIVIDUAL"
    save(folder, "stereo")


def linked(folder):
    """A linked library and a texture, both by absolute path, in other folders."""
    os.makedirs(os.path.join(folder, "lib"), exist_ok=True)
    os.makedirs(os.path.join(folder, "textures"), exist_ok=True)
    picture(os.path.join(folder, "textures", "red.png"), (1, 0.1, 0.1, 1))
    _, cube = fresh()
    textured(cube, os.path.join(folder, "textures", "red.png"))
    cube.name = "Prop"
    cube.animation_data_clear()
    library = os.path.join(folder, "lib", "props.blend")
    bpy.ops.wm.save_as_mainfile(filepath=library, compress=False)
    scene, cube = fresh()
    bpy.data.objects.remove(cube)
    with bpy.data.libraries.load(library, link=True) as (_, to):
        to.objects = ["Prop"]
    scene.collection.objects.link(to.objects[0])
    save(folder, "linked")


def troubled(folder):
    """A missing texture and a driver that needs Python."""
    _, cube = fresh()
    path = os.path.join(folder, "gone.png")
    picture(path, (0, 1, 0, 1))
    textured(cube, path)
    curve = cube.driver_add("location", 0)
    curve.driver.expression = "len(__import__('os').sep)"
    save(folder, "troubled")
    os.remove(path)


def blind(folder):
    scene, _ = fresh()
    bpy.data.objects.remove(scene.camera)
    save(folder, "blind")


def endless(folder):
    """Renders longer than any test lasts, and lets a trusted script do harm before."""
    scene, _ = fresh()
    scene.render.resolution_x = scene.render.resolution_y = 256
    scene.cycles.samples = 1_000_000
    scene.cycles.use_adaptive_sampling = False
    save(folder, "endless")


def spy(folder):
    """With scripts allowed: starts a process, looks for a network and writes what it sees."""
    fresh()
    text = bpy.data.texts.new("spy.py")
    text.write(SPY)
    text.use_module = True
    save(folder, "spy")


SPY = """
import bpy, json, os, socket, subprocess, sys
from bpy.app.handlers import persistent

def reaches_network():
    folder = os.path.dirname(bpy.data.filepath)
    try:
        with open(os.path.join(folder, "port")) as file:
            socket.create_connection(("127.0.0.1", int(file.read())), 2).close()
    except OSError:
        return False
    return True

@persistent
def look(scene, *_):
    folder = os.environ["TMPDIR"]
    child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    with open(os.path.join(folder, "seen.json"), "w") as file:
        json.dump({
            "child": child.pid,
            "network": reaches_network(),
            "passwd": os.path.exists("/etc/passwd"),
            "environment": sorted(os.environ),
            "workspace_writable": os.access(os.path.dirname(bpy.data.filepath), os.W_OK),
        }, file)
    if scene.frame_current == 99:
        os.kill(os.getpid(), 6)
    if scene.frame_current == 98:
        raise MemoryError

bpy.app.handlers.render_pre.append(look)
"""


def crop(folder):
    scene, _ = fresh()
    render = scene.render
    render.resolution_percentage = 50
    render.resolution_x, render.resolution_y = 64, 36
    render.use_border = render.use_crop_to_border = True
    render.border_min_x, render.border_max_x = 0.25, 0.75
    render.border_min_y, render.border_max_y = 0.0, 0.5
    save(folder, "crop")


def film_output(folder):
    scene, _ = fresh()
    settings = scene.render.image_settings
    if hasattr(settings, "media_type"):
        settings.media_type = "VIDEO"
    settings.file_format = "FFMPEG"
    save(folder, "film_output")


def eevee(folder):
    scene, _ = fresh("BLENDER_EEVEE" if NEW_COMPOSITOR else "BLENDER_EEVEE_NEXT")
    scene.eevee.taa_render_samples = 2
    save(folder, "eevee")


SCENES = (
    *(plain, moving, range_reader, layers, outputs, stereo, linked, troubled, blind, endless),
    *(spy, crop, film_output, eevee),
)


def make(folder):
    for build in SCENES:
        own = os.path.join(folder, build.__name__)
        os.makedirs(own, exist_ok=True)
        build(own)


def direct(blend, frames):
    bpy.ops.wm.open_mainfile(filepath=blend, load_ui=False, use_scripts=False)
    scene = bpy.context.scene
    for frame in frames:
        if scene.frame_start <= frame <= scene.frame_end:
            continue
        render_beyond(scene, frame)
    # The range as a whole, in one go: what an artist's own Blender does.
    if any(scene.frame_start <= frame <= scene.frame_end for frame in frames):
        bpy.ops.render.render(animation=True)


def render_beyond(scene, frame):
    if NEW_COMPOSITOR:
        bpy.ops.render.render(animation=True, frame_start=frame, frame_end=frame)
        return
    path = scene.render.filepath
    scene.frame_set(frame)
    scene.render.filepath = os.path.splitext(scene.render.frame_path(frame=frame))[0]
    bpy.ops.render.render(write_still=True)
    scene.render.filepath = path


def film(path):
    clip = bpy.data.movieclips.load(path)
    print("FILM", clip.frame_duration, *clip.size, clip.fps)


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    if command == "make":
        make(rest[0])
    elif command == "direct":
        for blend in rest[1:]:
            direct(blend, [int(word) for word in rest[0].split(",")])
    else:
        film(rest[0])
    sys.stdout.flush()
    os._exit(0)
