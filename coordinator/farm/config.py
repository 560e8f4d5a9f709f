"""The numbers the farm works with, each with its unit and its reason."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class FarmConfig:
    """Times are seconds."""

    farm: str = "Rendermill"
    """Name of the farm, told to nodes."""
    heartbeat_seconds: float = 5.0
    suspect_seconds: float = 15.0
    """A node silent for this long gets no new frames (Nomad: 20, procrastinate: 30)."""
    lease_seconds: float = 45.0
    """A node silent for this long has lost its frames. Others wait minutes because a double run
    would clobber shared files; a result is committed once here, so we may be quick."""
    frames_per_node: int = 2
    """Frames a node holds at once: one that renders and one fetched ahead."""
    epoch_block: int = 4096
    """Epochs reserved in the database at a time."""

    distinct_nodes_to_fail: int = 3
    """A frame fails for good after this many distinct nodes (dask, Flamenco, OpenCue, Nomad: 3)."""
    losses_forgiven: int = 2
    """Nodes lost over a frame before a loss counts as a failure of the frame."""
    frames_to_avoid: int = 3
    """Distinct frames of a job that fail on a node before the job avoids the node."""
    avoid_seconds: float = 1800.0
    """After which an avoided node is forgiven."""
    node_fault_first_seconds: float = 5.0
    node_fault_longest_seconds: float = 300.0
    """Back-off after a fault of the node itself: doubles from the first to the longest."""
    return_pause_seconds: float = 5.0
    """No new frames for a node that handed one back unasked."""

    share_horizon_seconds: float = 120.0
    """Node-seconds that a submitter has had more than another of equal priority, and that weigh as
    much as one frame more in hand. Shorter: shares even out faster, and nodes change scenes more
    often."""
    share_own_bonus: float = 2.0
    """Frames in hand by which a node prefers the submitter whose scene it has open: as many as it
    holds, so that nodes sort themselves by scenes instead of changing theirs with every frame."""

    breaker_scene_attempts: int = 5
    """A job none of whose frames ever succeeded stops after this many attempts in a row that
    Blender refused, on distinct frames."""
    breaker_attempts: int = 12
    """The same for every other kind of failure, faults of nodes included."""
    breaker_frames: int = 3
    """Distinct frames that must be among those attempts (all, where the job has fewer)."""
    breaker_nodes: int = 2
    """Distinct nodes that must be among those attempts (all usable ones, where there are fewer)."""

    too_long_floor_seconds: float = 1800.0
    """No frame is given up as too long before this, unless its job sets a limit."""
    too_long_factor: float = 20.0
    """Nor before this many times what was expected of it on this node."""
    limit_grace_seconds: float = 60.0
    """The node watches the job's own limit; the farm steps in this much later."""
    stalled_seconds: float = 1200.0
    """A node that neither starts its frame nor says what it prepares for this long."""

    copy_interval_seconds: float = 0.5
    """Least time between two searches for stragglers worth a second copy."""
    copy_leases_a_second: float = 5000.0
    """Leases looked at a second at most: with more of them the searches are rarer, so that they
    never take more than a few hundredths of a core."""
    copy_margin: float = 0.9
    """A copy starts when it is expected to need less than this part of the time left."""
    copy_least_seconds: float = 2.0
    """Nothing is copied that is expected to end sooner than this."""
