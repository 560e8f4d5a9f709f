"""A node as the farm sees it, and the groups of nodes and jobs that fit together."""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field

from ...protocol.job import Device, Requirements
from ...protocol.states import NodeState
from .leases import Lease
from .records import NodeRecord
from .speeds import Slowness


@dataclass(slots=True, eq=False)
class Node:
    """A machine that renders. ``record`` is what is stored, the rest lasts for a connection."""

    record: NodeRecord
    connected: bool = False
    available: bool = True
    unavailable_because: str = ""
    changes_at: float | None = None
    """When it is available again, or no more, as it said itself."""
    suspect: bool = False
    """Silent for longer than a heartbeat may be late: gets nothing new."""
    last_seen: float = 0.0
    watched: bool = False
    """A timer looks at its silence."""
    leases_watched: float | None = None
    """When a timer looks at how long its leases take."""
    leases: dict[int, Lease] = field(default_factory=dict)
    """Epoch -> lease, in the order granted: the first one is worked on."""
    resting_until: float = 0.0
    resting_because: str = ""
    faults: int = 0
    """Faults of the machine in a row."""
    frames_done: int = 0
    scenes: dict[str, None] = field(default_factory=dict)
    """Manifests whose files it holds."""
    told: set[str] = field(default_factory=set)
    """Jobs whose spec was sent on this connection."""
    last_job: str = ""
    left: tuple[str, int] | None = None
    """Job and frame it was rendering when it went away; None once it is back."""
    groups: list[Group] = field(default_factory=list)
    """Groups it fits, while connected."""
    asked_for: int | None = None
    """Epoch of a lease of another node that was asked back for this one."""
    speeds: dict[tuple[str, Device], Slowness] = field(default_factory=dict)
    """What all jobs taught of it, for each engine and device."""
    load: float = 0.0
    memory_free_bytes: int = 0
    disk_free_bytes: int = 0

    @property
    def id(self) -> str:
        """Durable id."""
        return self.record.id

    @property
    def is_enabled(self) -> bool:
        """Whether people want it to work."""
        return not (self.record.drained or self.record.disabled)

    def takes_work(self, now: float) -> bool:
        """Whether it may be given a frame now."""
        return (
            self.connected
            and self.available
            and not self.suspect
            and self.is_enabled
            and self.resting_until <= now
        )

    @property
    def head(self) -> Lease | None:
        """The lease it works on."""
        return next(iter(self.leases.values()), None)

    def slowness(self, engine: str, device: Device) -> Slowness:
        """Return what is known of its speed with an engine on a device."""
        return self.speeds.setdefault((engine, device), Slowness())

    def state(self) -> NodeState:  # noqa: PLR0911 - one line for each state
        """Return its state as people see it."""
        if not self.connected:
            return NodeState.OFFLINE
        if self.record.disabled:
            return NodeState.DISABLED
        if self.record.drained:
            return NodeState.DRAINING
        if self.leases:
            return NodeState.RENDERING
        if not self.available:
            return NodeState.UNAVAILABLE
        if not self.record.machine.blenders:
            return NodeState.JOINING
        return NodeState.IDLE


@dataclass(slots=True, eq=False)
class Group:
    """Jobs with the same requirements, memory aside, and the connected nodes that meet them."""

    requires: Requirements
    open_jobs: int = 0
    """Jobs of the group that have not ended; a group without any is dropped."""
    nodes: dict[str, Node] = field(default_factory=dict)
    idle: dict[str, Node] = field(default_factory=dict)
    """Of these, the ones that take work and hold no lease."""
    spare: dict[str, Node] = field(default_factory=dict)
    """Of these, the ones that take work and hold fewer leases than they may."""
    ready: dict[int, dict[str, list[int]]] = field(default_factory=dict)
    """Priority -> submitter -> numbers of jobs with frames to hand out, ascending. No empty
    containers."""

    def add_ready(self, priority: int, submitter: str, number: int) -> None:
        """Queue a job."""
        insort(self.ready.setdefault(priority, {}).setdefault(submitter, []), number)

    def remove_ready(self, priority: int, submitter: str, number: int) -> None:
        """Take a job that is queued out of the queue."""
        submitters = self.ready[priority]
        numbers = submitters[submitter]
        del numbers[bisect_left(numbers, number)]
        if not numbers:
            del submitters[submitter]
            if not submitters:
                del self.ready[priority]
