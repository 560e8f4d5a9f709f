"""How a node is started: everything that is chosen once, with what holds when it is not."""

from __future__ import annotations

import hashlib
import platform
import re
from dataclasses import dataclass
from pathlib import Path

from ..protocol.node_settings import PLAIN, NodeSettings
from ..wire import places
from ..wire.credentials import JoinToken
from . import hardware
from .attendance import LOOK_SECONDS, ROOM_SECONDS
from .blender.session import SILENT_SECONDS
from .link import PING_SECONDS, RETRY_FIRST_SECONDS

GRACE_SECONDS = 15.0
"""How long a node that is told to stop goes on with the frame it has begun."""
PROBE_IDLE_SECONDS = 5.0
"""A node without work for so long looks what else its Blenders can do."""
PROBE_AGAIN_FIRST_SECONDS = 60.0
"""Pause before a look that left questions open is repeated; it doubles each time."""
MEMORY_PART = 0.9
"""Part of the machine's memory (of its control group's, where that is less) that Blender may use.
Beyond, a machine with swap stands still for hours, and one without kills whatever it likes: this
node, the coordinator, what the person at the machine works with. A frame that is stopped here fails
as MEMORY with a sentence, and goes to a machine with more."""
NAME_MAX_CHARS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOptions:
    """How a node is started. Sizes in bytes, times in seconds."""

    coordinator: str | None = None
    """Address; None: this machine's own coordinator, or a farm that was joined."""
    join: JoinToken | None = None
    """To join a farm with, where this machine has not before: the one at ``coordinator``, else
    the one whose coordinator printed the token, found by its announcement."""
    blenders: tuple[Path, ...] = ()
    """Programs to use besides those found."""
    data: Path | None = None
    """Folder of this node alone; None: one in the user's data folder, by ``name``."""
    cache: Path | None = None
    """Folder of scenes, shared by all nodes of this user on this machine; None: the usual one."""
    cache_bytes: int | None = None
    """Quota of that folder; None: `cache.default_quota`."""
    name: str = ""
    """For people; '': the machine's name."""
    settings: NodeSettings = PLAIN
    """Checked; what an administrator sets on the coordinator goes before it."""
    low_priority: bool = False
    """Blender gives way to every other program of this machine."""
    gpu_only: bool = False
    """This node stands for a GPU beside others of this machine (see `slots`)."""
    slot: str = ""
    """Name of the slot it is; '' for a node that has the machine to itself."""
    memory_share: float = 1.0
    """Part of the machine's memory that is this node's."""
    load_root: int | None = None
    """Process whose tree is not "other programs" where load counts; None: this node's."""
    look_seconds: float = LOOK_SECONDS
    room_seconds: float = ROOM_SECONDS
    threads: int = 0
    """Render threads; 0: as many as there are processors."""
    silent_seconds: float = SILENT_SECONDS
    """Without any sign of life from Blender for so long, it hangs; a job may say otherwise."""
    frame_seconds: float = 0.0
    """Longest time for a frame where its job does not say; 0: as long as it takes."""
    memory_bytes: int | None = None
    """Most that Blender may use; None: `MEMORY_PART` of what this process may, 0: no limit."""
    probe_idle_seconds: float = PROBE_IDLE_SECONDS
    probe_again_seconds: float = PROBE_AGAIN_FIRST_SECONDS
    grace_seconds: float = GRACE_SECONDS
    ping_seconds: float = PING_SECONDS
    retry_first_seconds: float = RETRY_FIRST_SECONDS

    @property
    def data_folder(self) -> Path:
        """The folder this node runs in."""
        if self.data is not None:
            return self.data
        # A name may hold anything a person likes; two names must never share a folder.
        slug = re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")[:40]
        mark = hashlib.sha256(self.name.encode()).hexdigest()[:8]
        return places.data_dir() / (f"node-{slug}-{mark}" if self.name else "node")

    @property
    def cache_folder(self) -> Path:
        """The folder its scenes lie in."""
        return self.cache or places.cache_dir() / "scenes"

    @property
    def memory_limit(self) -> int:
        """Bytes at which an attempt fails; 0: none."""
        if self.memory_bytes is None:
            return int(hardware.memory_bytes() * self.memory_share * MEMORY_PART)
        return int(self.memory_bytes * self.memory_share)

    @property
    def label(self) -> str:
        """The node's name for people."""
        return (self.name or platform.node() or "node")[:NAME_MAX_CHARS]
