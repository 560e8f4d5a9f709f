"""Nodes that come, speak, fall silent and go."""

from __future__ import annotations

from dataclasses import replace

from ...protocol import PROTOCOL_VERSION
from ...protocol.machine import Machine
from ...protocol.messages import (
    Availability,
    ConfigureNode,
    FailureKind,
    FrameDone,
    FrameFailed,
    FrameProgress,
    FrameRef,
    FrameStarted,
    Goodbye,
    Heartbeat,
    Hello,
    LeasesReturned,
    MachineChanged,
    NodeMessage,
    Revoke,
    SceneHeld,
    ScenePreparing,
    SetDraining,
    Welcome,
)
from ...protocol.node_settings import FarmSettings, NodeSettings, change, effective
from ...protocol.states import FrameState, JobState
from .attempts import fail, find_lease, hand_back, lose, outgrow, take_failure, take_result
from .leases import Lease
from .leasing import ask_back, begin, deadline, forget_asking, hold, release, watch_leases
from .nodes import Node
from .records import NodeRecord
from .state import FarmState, Timer

SCENES_PER_NODE = 100
"""Scenes of a node that are remembered, newest kept."""


def save_node(state: FarmState, node: Node, **changes: object) -> None:
    """Replace fields of a node's record and store it."""
    node.record = replace(
        node.record,
        last_seen=node.last_seen,
        frames_done=node.frames_done,
        **changes,  # type: ignore[arg-type]
    )
    state.outcome.save_node(node)


def join(state: FarmState, hello: Hello) -> None:
    """Welcome a node, or the same one again."""
    if hello.protocol != PROTOCOL_VERSION:
        reason = (
            f"This coordinator speaks protocol {PROTOCOL_VERSION}, the node {hello.protocol}; "
            "install the same version of Rendermill on both."
        )
        state.outcome.disconnect(hello.node, hello.incarnation, reason)
        return
    node = state.nodes.get(hello.node)
    if node is None:
        record = NodeRecord(
            id=hello.node,
            name=hello.name,
            incarnation=hello.incarnation,
            software=hello.software,
            machine=hello.machine,
        )
        node = Node(record)
        state.nodes[node.id] = node
    elif node.record.incarnation != hello.incarnation:
        if node.connected:
            reason = "The node has started anew."
            state.outcome.disconnect(node.id, node.record.incarnation, reason)
        _leave(state, node)
        for lease in list(node.leases.values()):
            lose(state, lease, "The node has started anew.")
        node.resting_until = 0.0
    elif node.connected:
        _leave(state, node)
    node.connected = True
    node.left = None
    _note_availability(node, hello.availability)
    node.suspect = False
    node.last_seen = state.now
    state.online += 1
    save_node(
        state,
        node,
        name=hello.name,
        incarnation=hello.incarnation,
        software=hello.software,
        settings=hello.settings or NodeSettings(tags=hello.machine.tags),
    )
    change_machine(state, node, hello.machine)
    for scene in reversed(hello.scenes[:SCENES_PER_NODE]):
        note_scene(state, node, scene, True)
    watch(state, node)
    keep = _readopt(state, node, hello.holding)
    welcome = Welcome(
        farm=state.config.farm,
        heartbeat_seconds=state.config.heartbeat_seconds,
        lease_seconds=state.config.lease_seconds,
        keep=keep,
        settings=node.record.farm_settings,
    )
    state.outcome.send(node, welcome)
    if not node.is_enabled:
        state.outcome.send(node, SetDraining(draining=True))


def _readopt(state: FarmState, node: Node, holding: tuple[FrameRef, ...]) -> tuple[FrameRef, ...]:
    """Return what a node may go on with of what it says it holds."""
    held = set(holding)
    for lease in list(node.leases.values()):
        if lease.ref in held:
            lease.active = state.now
            lease.revoking = False
            forget_asking(state, lease)
        else:
            # The order to render it was lost on the way, or the return of it.
            release(state, lease, "returned", "The node does not have it any more.")
    for ref in holding:
        if find_lease(state, node, ref) is None:
            _take_back(state, node, ref)
    return tuple(ref for ref in holding if find_lease(state, node, ref) is not None)


def _take_back(state: FarmState, node: Node, ref: FrameRef) -> None:
    """Renew a lease that had run out, if nobody else has begun the frame."""
    job = state.jobs.get(ref.job)
    position = None if job is None else job.table.position(ref.frame)
    if job is None or position is None or not 0 < ref.epoch < state.next_epoch:
        return
    if job.has_ended or job.record.paused or ref.epoch in state.leases or not node.is_enabled:
        return
    record = job.table.record(position)
    others = job.leases_at.get(position, [])
    if not job.has_place_for(node.id):
        return
    if ref.generation != record.generation or not job.table.is_open(position):
        return
    if len(others) > 1 or any(
        other.started is not None or other.node == node.id for other in others
    ):
        return
    ask_back(state, others, "elsewhere")
    lease = Lease.of(ref, position, node.id, node.record.incarnation, state.now)
    lease.is_copy = bool(others)
    hold(state, lease)
    state.change_frame(job, position, state=FrameState.LEASED)
    if job.record.state is JobState.QUEUED:
        started = state.now if job.record.started is None else job.record.started
        state.change_job(job, state=JobState.RENDERING, started=started)


def disconnect(state: FarmState, node_id: str, incarnation: str) -> None:
    """The connection ended. What the node holds stays its own until the lease runs out."""
    node = state.nodes.get(node_id)
    if node is None or not node.connected or node.record.incarnation != incarnation:
        return
    _leave(state, node)
    save_node(state, node)


def _leave(state: FarmState, node: Node) -> None:
    if not node.connected:
        return
    node.connected = False
    state.online -= 1
    if node.head is not None and not node.head.is_film:
        node.left = (node.head.job, node.head.frame)
    for scene in node.scenes:
        holders = state.scene_nodes[scene]
        del holders[node.id]
        if not holders:
            del state.scene_nodes[scene]
    node.scenes.clear()
    for job_id in node.told:
        state.jobs[job_id].told.discard(node.id)
    node.told.clear()
    node.asked_for = None
    state.look_at_choosy_jobs(node)
    state.unmatch_node(node)
    state.place(node)
    state.outcome.show_node(node)


def watch(state: FarmState, node: Node) -> None:
    """Have a timer look at how long a node is silent."""
    if not node.watched:
        node.watched = True
        state.wake(node.last_seen + state.config.suspect_seconds, Timer.SILENCE, node.id)


def look_at_silence(state: FarmState, node: Node) -> None:
    """Act on how long a node has been silent."""
    node.watched = False
    if not node.connected and not node.leases:
        return
    config = state.config
    lost_at = node.last_seen + config.lease_seconds
    suspect_at = node.last_seen + config.suspect_seconds
    if state.now >= lost_at:
        reason = f"The node was silent for {config.lease_seconds:g} s."
        if node.connected:
            # Closed, so that it says anew what it holds when it comes back.
            state.outcome.disconnect(node.id, node.record.incarnation, reason)
            _leave(state, node)
            save_node(state, node)
        for lease in list(node.leases.values()):
            lose(state, lease, reason)
        return
    node.watched = True
    if state.now >= suspect_at:
        if not node.suspect:
            node.suspect = True
            state.place(node)
            state.outcome.show_node(node)
        state.wake(lost_at, Timer.SILENCE, node.id)
    else:
        state.wake(suspect_at, Timer.SILENCE, node.id)


def look_at_leases(state: FarmState, node: Node) -> None:
    """Take frames away that take too long, or never begin."""
    node.leases_watched = None
    for lease in list(node.leases.values()):
        if lease.epoch not in state.leases or deadline(state, lease) > state.now:
            continue
        _stop(state, node, lease)
    watch_leases(state, node)


def _stop(state: FarmState, node: Node, lease: Lease) -> None:
    message = Revoke(frames=(lease.ref,), reason="too_long", running_too=True)
    state.outcome.send_to(node.id, lease.incarnation, message)
    if lease.started is None:
        minutes = state.config.stalled_seconds / 60
        reason = f"The node said nothing of the frame for {minutes:g} minutes."
        fail(state, lease, FailureKind.NODE, reason)
        return
    limit = state.jobs[lease.job].record.spec.limits.no_progress_seconds
    if limit > 0 and state.now - lease.moved >= limit:
        reason = f"It made no progress for {limit:g} s, which is the limit of its job."
        fail(state, lease, FailureKind.HANG, reason)
        return
    seconds = state.now - lease.started
    reason = f"The frame was given up after {seconds:.0f} s; set a longer limit if it needs it."
    fail(state, lease, FailureKind.TOO_LONG, reason)


def note_scene(state: FarmState, node: Node, manifest: str, held: bool) -> None:
    """Remember whether a node holds the files of a manifest."""
    if held:
        node.scenes.pop(manifest, None)
        node.scenes[manifest] = None
        state.scene_nodes.setdefault(manifest, {})[node.id] = None
        if len(node.scenes) <= SCENES_PER_NODE:
            return
        manifest = next(iter(node.scenes))
    if node.scenes.pop(manifest, manifest) is None:
        holders = state.scene_nodes[manifest]
        del holders[node.id]
        if not holders:
            del state.scene_nodes[manifest]


def hear(state: FarmState, node_id: str, incarnation: str, message: NodeMessage) -> None:
    """Handle a message of a node that joined."""
    node = state.nodes.get(node_id)
    if node is None:
        reason = "This node has not joined."
        state.outcome.disconnect(node_id, incarnation, reason)
        return
    if isinstance(message, FrameDone):
        # A finished frame is welcome from whomever and whenever it comes.
        _note_life(state, node, incarnation)
        take_result(state, node, incarnation, message)
    elif _note_life(state, node, incarnation):
        _hear_joined(state, node, message)


def _note_life(state: FarmState, node: Node, incarnation: str) -> bool:
    """Whether the message is of the process that is connected; if so, the node lives."""
    if not node.connected or node.record.incarnation != incarnation:
        return False
    node.last_seen = state.now
    if node.suspect:
        node.suspect = False
        state.place(node)
        state.outcome.show_node(node)
    return True


def _hear_joined(state: FarmState, node: Node, message: NodeMessage) -> None:
    match message:
        case Heartbeat():
            node.load = message.load
            node.memory_free_bytes = message.memory_free_bytes
            node.disk_free_bytes = message.disk_free_bytes
        case ScenePreparing() | FrameStarted() | FrameProgress():
            _note_frame(state, node, message)
        case FrameFailed():
            take_failure(state, node, message)
        case LeasesReturned():
            for ref in message.frames:
                hand_back(state, node, ref, message.reason)
        case SceneHeld():
            note_scene(state, node, message.manifest, message.held)
        case Availability():
            _note_availability(node, message)
            state.place(node)
            state.outcome.show_node(node)
        case MachineChanged():
            change_machine(state, node, message.machine)
        case Goodbye():
            for lease in list(node.leases.values()):
                release(state, lease, "returned", message.reason)
            _leave(state, node)
            save_node(state, node)
        case _:
            pass


def _note_frame(
    state: FarmState, node: Node, message: ScenePreparing | FrameStarted | FrameProgress
) -> None:
    lease = find_lease(state, node, message.frame)
    if lease is None:
        return
    lease.active = state.now
    if isinstance(message, ScenePreparing):
        lease.preparing = f"{message.stage} {message.fraction:.0%}"
        lease.opening = lease.opening or message.stage in _BLENDER_STAGES
    else:
        if lease.started is None:
            begin(state, lease)
        if isinstance(message, FrameProgress):
            fraction = min(max(message.fraction, lease.fraction, 0.0), 1.0)
            if fraction > lease.fraction:
                lease.fraction, lease.moved = fraction, state.now
            lease.text = message.text
    state.outcome.show_frame(lease.job, lease.frame)
    state.outcome.show_node(node)


_BLENDER_STAGES = ("starting", "opening")
"""Stages of `ScenePreparing` in which Blender runs."""


def _note_availability(node: Node, said: Availability) -> None:
    node.available = said.available
    node.unavailable_because = "" if said.available else said.reason
    node.changes_at = said.changes_at


def change_machine(state: FarmState, node: Node, machine: Machine) -> None:
    """The machine can do something else now; frames it already has stay with it."""
    tags = effective(node.record.settings, node.record.farm_settings).tags
    save_node(state, node, machine=replace(machine, tags=tags))
    outgrow(state, node)
    state.match_node(node)


def configure(state: FarmState, node: Node, changes: FarmSettings, reset: tuple[str, ...]) -> None:
    """Change what the farm sets for a node; its tags count for the next frame it is given.

    The change is one that `node_settings.change` makes.
    """
    settings = change(node.record.farm_settings, changes, reset)
    save_node(state, node, farm_settings=settings)
    state.outcome.send(node, ConfigureNode(settings=settings))
    machine = node.record.machine
    if node.connected:
        change_machine(state, node, machine)
    else:
        tags = effective(node.record.settings, settings).tags
        save_node(state, node, machine=replace(machine, tags=tags))
