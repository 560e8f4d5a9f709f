"""Runs in a Blender of its own: makes scenes whose output is a film, renders and measures films.

python film_scenes.py make FOLDER KIND      the scene film.blend of that kind, with its sound
python film_scenes.py direct BLEND          renders the film in place, as its artist would
python film_scenes.py decode FOLDER FILM sound|silent    measures a film; FOLDER is for its pictures
"""

import hashlib
import json
import math
import os
import struct
import sys
import wave

import bpy
import numpy

SIZE = (32, 32)
FRAMES = 10
FPS = 24


def video(scene, container, codec, audio="AAC", **settings):
    image = scene.render.image_settings
    if hasattr(image, "media_type"):
        image.media_type = "VIDEO"
    image.file_format = "FFMPEG"
    ffmpeg = scene.render.ffmpeg
    ffmpeg.format, ffmpeg.codec, ffmpeg.audio_codec = container, codec, audio
    for name, value in settings.items():
        setattr(image if hasattr(image, name) else ffmpeg, name, value)


def sound(path):
    """Two seconds, another tone in every tenth of a second."""
    rate = 48000
    with wave.open(path, "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        values = (
            int(9000 * math.sin(2 * math.pi * (300 + 200 * (n * 10 // rate)) * n / rate))
            for n in range(2 * rate)
        )
        file.writeframes(b"".join(struct.pack("<h", value) for value in values))


def strips_of(scene):
    editor = scene.sequence_editor or scene.sequence_editor_create()
    return editor.strips if hasattr(editor, "strips") else editor.sequences


def basis(folder):
    bpy.ops.wm.read_homefile(use_factory_startup=True)
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.samples, scene.cycles.use_denoising = 1, False
    scene.render.resolution_x, scene.render.resolution_y = SIZE
    scene.render.fps = FPS
    scene.frame_start, scene.frame_end = 1, FRAMES
    scene.render.filepath = "//out/shot_"
    cube = bpy.data.objects["Cube"]
    for frame in (1, FRAMES):
        cube.rotation_euler.z = frame * 0.1
        cube.keyframe_insert("rotation_euler", frame=frame)
    path = os.path.join(folder, "tones.wav")
    sound(path)
    if not bpy.app.build_options.audaspace:
        return scene
    # Begins after the film does, and goes on after its end.
    strips_of(scene).new_sound("Tones", path, 3, 4)
    return scene


def h264(folder):
    video(basis(folder), "MPEG4", "H264")


def stamped(folder):
    """Dither, metadata burnt in, a look and a curve, a part of the range in steps."""
    scene = basis(folder)
    video(scene, "MPEG4", "H264", constant_rate_factor="LOSSLESS")
    scene.render.use_stamp = True
    scene.render.stamp_font_size = 8
    scene.render.dither_intensity = 2.0
    scene.view_settings.exposure = 0.4
    scene.view_settings.use_curve_mapping = True
    scene.frame_start, scene.frame_end, scene.frame_step = 2, 9, 3


def alpha(folder):
    scene = basis(folder)
    video(scene, "MKV", "FFV1", "FLAC", color_mode="RGBA")
    scene.render.film_transparent = True


def animation(folder):
    """QuickTime Animation, with transparency and a speaker's sound."""
    scene = basis(folder)
    video(scene, "QUICKTIME", "QTRLE", "PCM", color_mode="RGBA")
    scene.render.film_transparent = True
    bpy.ops.object.speaker_add(location=(1, 1, 0))
    speaker = bpy.context.object
    if bpy.app.build_options.audaspace:
        speaker.data.sound = bpy.data.sounds.load(os.path.join(folder, "tones.wav"))


def deep(folder):
    """Ten bits, which only linear light has."""
    scene = basis(folder)
    video(scene, "QUICKTIME", "PRORES", "PCM", color_depth="10")
    scene.render.dither_intensity = 0.0


def grey(folder):
    video(basis(folder), "MKV", "FFV1", "NONE", color_mode="BW")


def sequenced(folder):
    """The sequencer makes the picture: a colour over the scene, half transparent."""
    scene = basis(folder)
    video(scene, "MPEG4", "H264", "MP3")
    strips = strips_of(scene)
    colour = strips.new_effect(
        name="Colour", type="COLOR", channel=2, frame_start=1, **length(FRAMES)
    )
    colour.color = (0.2, 0.5, 0.1)
    text = strips.new_effect(name="Text", type="TEXT", channel=5, frame_start=3, **length(4))
    text.text = "farm"


def full(folder):
    """A strip in the highest channel of all."""
    scene = basis(folder)
    video(scene, "MPEG4", "H264")
    strips_of(scene).new_effect(name="Top", type="COLOR", channel=128, frame_start=1, **length(9))


def length(frames):
    return {"length": frames} if bpy.app.version >= (5, 0, 0) else {"frame_end": 1 + frames}


def make(folder, kind):
    os.makedirs(folder, exist_ok=True)
    globals()[kind](folder)
    bpy.ops.wm.save_as_mainfile(filepath=os.path.join(folder, "film.blend"), compress=False)
    scene = bpy.context.scene
    print("NAME", os.path.basename(scene.render.frame_path(frame=1)))


def direct(blend):
    bpy.ops.wm.open_mainfile(filepath=blend, load_ui=False, use_scripts=False)
    bpy.ops.render.render(animation=True)


def decode(folder, film, has_sound):
    """Print length, size, rate, a hash of the sound and one of each picture, as JSON."""
    scene = bpy.data.scenes.new("Decoded")
    render = scene.render
    render.resolution_x, render.resolution_y = SIZE
    strip = strips_of(scene).new_movie("Film", film, 1, 1)
    frames = strip.frame_final_duration
    # Nothing is converted on the way: 16 bits hold what the codec gives.
    scene.sequencer_colorspace_settings.name = strip.colorspace_settings.name
    render.image_settings.file_format = "PNG"
    render.image_settings.color_mode = "RGBA"
    render.image_settings.color_depth = "16"
    render.dither_intensity = 0
    scene.view_settings.view_transform = "Raw"
    scene.frame_start, scene.frame_end = 1, frames
    render.filepath = os.path.join(folder, "")
    bpy.ops.render.render(animation=True, scene=scene.name)
    pictures = []
    for number in range(1, frames + 1):
        image = bpy.data.images.load(os.path.join(folder, f"{number:04d}.png"))
        image.colorspace_settings.name = "Non-Color"
        pictures.append(digest(numpy.array(image.pixels[:], dtype="f4")))
    clip = bpy.data.movieclips.load(film)
    sound = None
    if has_sound == "sound":
        import aud

        samples = aud.Sound.file(film).data()
        sound = [*samples.shape, digest(samples)]
    facts = {"pictures": pictures, "size": list(clip.size), "fps": clip.fps, "sound": sound}
    print("DECODED", json.dumps(facts))


def digest(values):
    return hashlib.sha256(values.tobytes()).hexdigest()[:16]


if __name__ == "__main__":
    {"make": make, "direct": direct, "decode": decode}[sys.argv[1]](*sys.argv[2:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
