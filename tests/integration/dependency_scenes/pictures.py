"""Kinds of files that are pictures, films, sounds and letters."""

from __future__ import annotations

import importlib
import shutil
import unicodedata
import wave
from pathlib import Path
from typing import Any

import numpy
from stage import (
    BLUE,
    GREEN,
    RED,
    CannotBeMade,
    Place,
    composite,
    load,
    nodes_of,
    relative,
    screen,
    shining,
    stage,
    strips_of,
    textured,
)

bpy: Any = importlib.import_module("bpy")


LONG = "a very long name " * 11
"""With an ending 190 bytes: file systems end at 255, and tools add to names."""


def image_below_the_file(place: Place) -> int:
    """A relative path."""
    stage()
    place.save()
    image = load(place.picture("textures/wood.png", RED))
    image.filepath = relative(place.folder / "textures/wood.png")
    screen(textured(image))
    return 1


def image_elsewhere(place: Place) -> int:
    """An absolute path, outside the folder of the .blend."""
    stage()
    place.save("project/deep/shot.blend")
    screen(textured(load(place.picture("store of the studio/wood.png", RED))))
    return 1


def names_beyond_ascii(place: Place) -> int:
    """Names of people who do not write English, and a very long one."""
    stage()
    place.save()
    name = f"Bäume & Felder/木目 テクスチャ/{LONG}é.png"
    image = load(place.picture(name, RED))
    image.filepath = relative(place.folder / name)
    screen(textured(image))
    return 1


def symbolic_link(place: Place) -> int:
    """A texture folder that is a link to another one."""
    stage()
    place.save()
    place.picture("store/wood.png", BLUE)
    (place.folder / "textures").symlink_to(place.folder / "store")
    screen(textured(load(place.folder / "textures/wood.png")))
    return 1


def udim(place: Place) -> int:
    """Tiles of an image."""
    stage()
    place.save()
    for tile, colour in ((1001, RED), (1002, GREEN), (1011, BLUE), (1012, RED)):
        place.picture(f"udim/wood.{tile}.png", colour)
    image = load(place.folder / "udim/wood.1001.png")
    image.source = "TILED"
    image.filepath = str(place.folder / "udim/wood.<UDIM>.png")
    for tile in (1002, 1011, 1012):
        if image.tiles.get(tile) is None:
            image.tiles.new(tile)
    screen(textured(image, scale=2.0))
    return 1


def image_sequence(place: Place) -> int:
    """One picture a frame."""
    stage()
    place.save()
    for frame, colour in ((1, RED), (2, GREEN), (3, BLUE)):
        place.picture(f"flames/flame_{frame:04}.png", colour)
    image = load(place.folder / "flames/flame_0001.png")
    image.source = "SEQUENCE"
    screen(textured(image, frame_duration=3, frame_start=1, use_auto_refresh=True))
    return 3


def _film(place: Place) -> Path:
    scene = stage()
    screen(shining("plain"))
    scene.frame_end = 3
    settings = scene.render.image_settings
    if hasattr(settings, "media_type"):
        settings.media_type = "VIDEO"
    settings.file_format = "FFMPEG"
    scene.render.ffmpeg.format = "MKV"
    scene.render.resolution_x = scene.render.resolution_y = 64
    scene.render.filepath = str(place.path("video/take.mkv"))
    bpy.ops.render.render(animation=True)
    return place.folder / "video/take.mkv"


def movie(place: Place) -> int:
    """A film as a texture."""
    path = _film(place)
    stage()
    place.save()
    screen(textured(load(path), frame_duration=3, frame_start=1, use_auto_refresh=True))
    return 2


def movie_clip(place: Place) -> int:
    """A clip that is a sequence of pictures, in the compositor."""
    scene = stage()
    place.save()
    for frame, colour in ((1, RED), (2, GREEN), (3, BLUE)):
        place.picture(f"clip/c{frame:03}.png", colour)
    clip = bpy.data.movieclips.load(str(place.folder / "clip/c001.png"))
    screen(shining("behind"))

    def make(tree: Any) -> Any:
        node = tree.nodes.new("CompositorNodeMovieClip")
        node.clip = clip
        return node.outputs["Image"]

    composite(scene, make)
    return 2


def compositor_image(place: Place) -> int:
    """An image that only the compositor uses."""
    scene = stage()
    place.save()
    image = load(place.picture("plates/sky.exr", GREEN))
    screen(shining("behind"))

    def make(tree: Any) -> Any:
        node = tree.nodes.new("CompositorNodeImage")
        node.image = image
        return node.outputs["Image"]

    composite(scene, make)
    return 1


def world_image(place: Place) -> int:
    """A picture around the scene."""
    scene = stage()
    place.save()
    world = scene.world = bpy.data.worlds.new("World")
    tree = nodes_of(world)
    tree.nodes.clear()
    texture = tree.nodes.new("ShaderNodeTexEnvironment")
    texture.image = load(place.picture("sky/dawn.exr", RED))
    background = tree.nodes.new("ShaderNodeBackground")
    sink = tree.nodes.new("ShaderNodeOutputWorld")
    tree.links.new(texture.outputs["Color"], background.inputs["Color"])
    tree.links.new(background.outputs[0], sink.inputs["Surface"])
    return 1


def font(place: Place) -> int:
    """Letters of a font file."""
    stage()
    place.save()
    fonts = Path(bpy.utils.system_resource("DATAFILES")) / "fonts"
    # One that is not the letters Blender takes when a font is missing.
    source = next(path for path in sorted(fonts.iterdir()) if "mono" in path.name.lower())
    path = place.path(f"fonts/letters{source.suffix}")
    shutil.copy(source, path)
    curve = bpy.data.curves.new("text", "FONT")
    curve.body, curve.size = "Wig\nAm", 1.6
    curve.align_x, curve.align_y = "CENTER", "CENTER"
    curve.font = bpy.data.fonts.load(str(path))
    curve.materials.append(shining("ink"))
    bpy.context.scene.collection.objects.link(bpy.data.objects.new("text", curve))
    return 1


def packed(place: Place) -> int:
    """A file that is in the .blend: nothing else is needed."""
    stage()
    place.save()
    image = load(place.picture("textures/wood.png", BLUE))
    image.pack()
    screen(textured(image))
    (place.folder / "textures/wood.png").unlink()
    return 1


def image_strip(place: Place) -> int:
    """A plate in the sequencer, with a sound beside it."""
    scene = stage()
    place.save()
    screen(shining("behind"))
    for frame, colour in ((1, RED), (2, BLUE)):
        place.picture(f"plates/plate_{frame}.png", colour)
    strips = strips_of(scene)
    strip = strips.new_image("plate", str(place.folder / "plates/plate_1.png"), 1, 1)
    strip.elements.append("plate_2.png")
    strip.frame_final_duration = 2
    with wave.open(str(place.path("sound/step.wav")), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\0\0" * 800)
    if bpy.app.build_options.audaspace:
        strips.new_sound("sound", str(place.folder / "sound/step.wav"), 2, 1)
    return 2


def colour_configuration(place: Place) -> int:
    """The colours of a studio; only where this Blender was started with them."""
    scene = stage()
    place.save()
    assert scene.display_settings.display_device == "Studio"
    screen(textured(load(place.picture("textures/wood.png", GREEN))))
    return 1


def decomposed_name(place: Place) -> int:
    """A name as a Mac writes it, letters and accents apart."""
    stage()
    place.save()
    name = unicodedata.normalize("NFD", "Größe/é.png")
    image = load(place.picture(name, GREEN))
    image.filepath = relative(place.folder / name)
    screen(textured(image))
    return 1


def longest_name(place: Place) -> int:
    """The longest name that a disk can hold."""
    stage()
    place.save()
    image = load(place.picture("x" * 251 + ".png", BLUE))
    screen(textured(image))
    return 1


def detour(place: Place) -> int:
    """A path through folders that hold nothing else, with the slashes of another system."""
    stage()
    place.save("project/shot.blend")
    image = load(place.picture("textures/wood.png", RED))
    image.filepath = "//..//project/empty\\../.././textures//wood.png"
    screen(textured(image))
    return 1


def uv_tiles(place: Place) -> int:
    """Tiles of an image, counted the other way."""
    stage()
    place.save()
    for tile, colour in (("u1_v1", RED), ("u2_v1", GREEN), ("u1_v2", BLUE)):
        place.picture(f"tiles/wood.{tile}.png", colour)
    image = load(place.folder / "tiles/wood.u1_v1.png")
    image.source = "TILED"
    image.filepath = "//tiles/wood.<UVTILE>.png"
    for tile in (1002, 1011):
        if image.tiles.get(tile) is None:
            image.tiles.new(tile)
    screen(textured(image, scale=2.0))
    return 1


def sequence_with_gaps(place: Place) -> int:
    """Pictures that do not begin at 1, lack some, and come round again."""
    stage()
    place.save()
    for frame, colour in ((7, RED), (8, GREEN), (11, BLUE)):
        place.picture(f"flames/take2_{frame:03}_left.png", colour)
    image = load(place.folder / "flames/take2_008_left.png")
    image.source = "SEQUENCE"
    # Frame 5 of the scene is the fourth of the second round: 8 + 3.
    user = {"frame_duration": 6, "frame_start": -4, "frame_offset": 7, "use_cyclic": True}
    screen(textured(image, use_auto_refresh=True, **user))
    return 5


def line_style_texture(place: Place) -> int:
    """A picture on the lines that Freestyle draws."""
    if (5, 0, 0) <= bpy.app.version < (5, 2, 0):
        raise CannotBeMade("Blender 5.0 and 5.1 draw lines without their nodes")
    scene = stage()
    place.save()
    bpy.ops.mesh.primitive_cube_add(size=2.5)
    bpy.context.object.data.materials.append(shining("plain"))
    scene.render.use_freestyle = True
    settings = scene.view_layers[0].freestyle_settings
    lines = settings.linesets[0] if settings.linesets else settings.linesets.new("lines")
    if lines.linestyle is None:
        lines.linestyle = bpy.data.linestyles.new("lines")
    style = lines.linestyle
    style.thickness = 6.0
    tree = nodes_of(style)
    tree.nodes.clear()
    chalk = tree.nodes.new("ShaderNodeTexImage")
    chalk.image = load(place.picture("lines/chalk.png", GREEN))
    tree.links.new(tree.nodes.new("ShaderNodeUVAlongStroke").outputs[0], chalk.inputs[0])
    sink = tree.nodes.new("ShaderNodeOutputLineStyle")
    tree.links.new(chalk.outputs["Color"], sink.inputs["Color"])
    return 1


def movie_strip(place: Place) -> int:
    """A film in the sequencer."""
    path = _film(place)
    scene = stage()
    place.save()
    screen(shining("behind"))
    strips_of(scene).new_movie("take", str(path), 1, 1)
    return 2


def texture_cache(place: Place) -> int:
    """What Cycles made of a picture, which it reads in its place."""
    if not hasattr(bpy.ops.render, "generate_texture_cache") or bpy.app.version < (5, 2, 0):
        raise CannotBeMade("texture caches came with Blender 5.2")
    scene = stage()
    place.save()
    path = place.path("textures/noise.png")
    image = bpy.data.images.new("maker", 256, 256)
    image.pixels.foreach_set(numpy.random.default_rng(1).random(256 * 256 * 4, numpy.float32))
    image.filepath_raw, image.file_format = str(path), "PNG"
    image.save()
    bpy.data.images.remove(image)
    screen(textured(load(path)))
    scene.render.use_texture_cache = True
    bpy.ops.render.generate_texture_cache()
    return 1


KINDS = (
    image_below_the_file,
    image_elsewhere,
    names_beyond_ascii,
    decomposed_name,
    longest_name,
    detour,
    symbolic_link,
    udim,
    uv_tiles,
    image_sequence,
    sequence_with_gaps,
    movie,
    movie_clip,
    compositor_image,
    world_image,
    line_style_texture,
    font,
    packed,
    image_strip,
    movie_strip,
    texture_cache,
)
