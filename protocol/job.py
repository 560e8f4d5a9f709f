"""What to render: the job an artist submits, as typed data and nothing else.

Whatever Blender itself reads from the .blend (samples, colour management, compositor, cameras
bound to markers, ...) stays in the .blend. A `JobSpec` holds only what the farm must know to
choose nodes, to run the frames and to bring the files back, and what people want to read.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

PRIORITY_MIN, PRIORITY_NORMAL, PRIORITY_MAX = 0, 50, 100


class JobKind(str, Enum):
    """Which button was pressed."""

    ANIMATION = "animation"
    IMAGE = "image"


class Device(str, Enum):
    """What the scene asks Cycles to render on. Never changed silently: no GPU, no node."""

    CPU = "cpu"
    GPU = "gpu"


class FrameOrder(str, Enum):
    """In which order the frames of a job are handed out."""

    FORWARD = "forward"
    BACKWARD = "backward"
    BINARY = "binary"
    """First, last, middle, quarters, ...: an early overview of the whole film."""


class Capability(str, Enum):
    """What a scene may need of a Blender beyond its version; probed on nodes, never guessed."""

    OPENIMAGEDENOISE = "openimagedenoise"
    OSL = "osl"
    ALEMBIC = "alembic"
    USD = "usd"
    OPENVDB = "openvdb"
    OPENGL = "opengl"
    """A working OpenGL (or Vulkan, Metal) without a display: EEVEE and Workbench need it."""
    FFMPEG = "ffmpeg"
    AUDASPACE = "audaspace"
    """Sound: a Blender built without it makes silent films."""
    FLUID = "fluid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """What a node must have for this job."""

    blender: tuple[int, int, int]
    """Version that the artist has. Major and minor must match, a patch difference is shown."""
    engine: str
    """Blender's identifier in that version: CYCLES, BLENDER_EEVEE_NEXT, BLENDER_WORKBENCH, ..."""
    device: Device = Device.CPU
    capabilities: tuple[Capability, ...] = ()
    memory_bytes: int = 0
    """Free memory a node must have; 0: not known."""
    tags: tuple[str, ...] = ()
    """Every one of these must be on the node."""
    nodes: tuple[str, ...] = ()
    """Node ids the job may run on; empty: any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneRoot:
    """A folder of the artist's machine and the place in the job's tree that stands for it.

    Files keep their place below the root, so relative paths in the .blend hold by themselves.
    Absolute paths below ``folder`` are rewritten on the node to ``<workspace>/<path>``.
    One root per drive: the deepest folder common to all files from that drive.
    """

    folder: str
    """Absolute, as Blender spells it there; may be a Windows path on a Linux node."""
    path: str
    """As in `ManifestFile.path`: ``scene``, ``drive_d``, ..."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputRoot:
    """A folder that Blender would write into, and what stands for it on the farm.

    On a node the folder is replaced by ``<scratch>/<id>``; a file made there travels as
    (id, path below it) and lands in ``folder`` of the artist's machine.
    """

    id: str
    """``main`` for the render output, ``out1``, ``out2``, ... for File Output nodes."""
    label: str
    """For people: "Render output", or the name of the File Output node."""
    folder: str
    """Absolute folder on the machine of the artist; never used on a node. '': the job was submitted
    from a browser, and its files stay on the farm until somebody downloads them."""
    name: str = ""
    """What follows ``folder`` in the output path, as the artist wrote it: ``frame_####``, '' for
    Blender's bare numbers, subfolders too where Blender's ``{scene_name}`` templates begin there.
    The node sets the path to ``<scratch>/<id>/<name>``, for File Output nodes as well (a multilayer
    node before 5.0 keeps its file name here; for most nodes it is empty)."""
    owner: str = ""
    """For a File Output node: name of the node group that has it, '' for the scene's own tree."""
    node: str = ""
    """For a File Output node: its name in that tree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameImage:
    """What the main output of every frame must look like; checked before a frame counts as done."""

    width: int
    """Pixels, after percentage and crop to border."""
    height: int
    file_format: str
    """Blender's identifier, as rendered on the farm: PNG, OPEN_EXR_MULTILAYER, JPEG, ..."""
    views: tuple[str, ...] = ()
    """Suffixes of the stereo views that become files of their own: ("_L", "_R"); else empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """The scene asks for a film: frames are rendered losslessly and encoded when all are there."""

    name: str
    """File name that Blender would have given it, extension included; a path below ``folder`` where
    the scene's path templates make folders."""
    folder: str
    """That of the render output, on the machine of the artist."""
    fps: float
    keep_frames: bool = False
    """The artist wants the frames too, in a folder named after the film."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Times after which an attempt at a frame is given up, in seconds; 0: the farm decides."""

    silent_seconds: float = 0.0
    """No sign of life at all from Blender (no message, no output, no CPU time used)."""
    frame_seconds: float = 0.0
    """One frame in all."""
    no_progress_seconds: float = 0.0
    """Begun, and Blender's progress of the frame stands still; watched by the coordinator. Only for
    scenes whose engine tells progress: one that tells none stands still all the time."""
    shortest_seconds: float = 0.0
    """A frame that is done sooner is taken for a failure (missing textures render fast)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """Everything the farm needs to render a job, apart from the files of the scene."""

    name: str
    submitter: str
    """``user@host`` of the artist, for people and for fair shares."""
    kind: JobKind
    blend: str
    """Path of the scene's .blend inside the manifest."""
    scene: str
    """Name of the Blender scene to render."""
    frames: str
    """Frame range in the grammar of `protocol.frames`, canonical form."""
    requires: Requirements
    roots: tuple[SceneRoot, ...]
    outputs: tuple[OutputRoot, ...]
    image: FrameImage
    view_layers: tuple[str, ...] = ()
    """Names of the view layers that are rendered; for people."""
    camera: str = ""
    """Name of the active camera; markers may change it from frame to frame."""
    samples: int = 0
    """Samples a pixel, 0 where the engine has none; for people and estimates."""
    fps: float = 24.0
    overwrite: bool = True
    """Blender's *Overwrite*: when off, files that exist in the output folder are not rendered."""
    placeholders: bool = False
    """Blender's *Placeholders*."""
    persistent_data: bool = True
    """Keep Cycles' scene data between frames (``render.use_persistent_data``)."""
    trust_scripts: bool = False
    """Let Python in the .blend run (drivers, registered texts). Written to the audit log."""
    film: Film | None = None
    priority: int = PRIORITY_NORMAL
    order: FrameOrder = FrameOrder.FORWARD
    max_nodes: int = 0
    """Most nodes at once; 0: no limit."""
    scouts: bool = False
    """Render first, middle and last frame, then wait for a person's approval."""
    depends_on: tuple[str, ...] = ()
    """Jobs that must be done before this one starts."""
    limits: Limits = Limits()
    colour_configuration: str = ""
    """OpenColorIO configuration that Blender is started with: a path in the job's tree, or one that
    OpenColorIO itself brings (``ocio://...``); '': Blender's own."""
    client: str = ""
    """Who made this spec, e.g. "rendermill 0.1.0, Blender 4.5.15"."""
