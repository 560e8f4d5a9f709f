"""What a node is: its machine, its Blenders, what each can do. Probed, never guessed."""

from __future__ import annotations

from dataclasses import dataclass

from .job import Capability


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A device that Cycles lists."""

    backend: str
    """CUDA, OPTIX, HIP, ONEAPI or METAL."""
    name: str
    id: str
    """Cycles' own identifier of the device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlenderInfo:
    """One Blender of a node, as a throw-away process of it reported."""

    version: tuple[int, int, int]
    path: str
    """The program, or the Python that imports bpy."""
    is_module: bool
    """True for the bpy wheel."""
    build: str = ""
    """Build hash and branch, for people."""
    engines: tuple[str, ...] = ()
    """Engines that rendered a test picture here."""
    capabilities: tuple[Capability, ...] = ()
    gpus: tuple[Gpu, ...] = ()
    problems: tuple[str, ...] = ()
    """Why an engine or a capability is not in the lists above, one sentence each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The computer of a node."""

    hostname: str
    system: str
    """``Linux``, ``Windows``, ``Darwin`` with release, for people."""
    cpu: str
    cores: int
    """Logical processors this node may use."""
    memory_bytes: int
    blenders: tuple[BlenderInfo, ...] = ()
    tags: tuple[str, ...] = ()
    sandbox: str = "none"
    """How Blender is confined here: ``bubblewrap``, ``rlimits`` or ``none``."""
    gpu_only: bool = False
    """It stands for a GPU beside other nodes on the same computer: frames for the processors
    are for those."""
