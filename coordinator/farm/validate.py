"""Every invariant of the farm's memory, checked the slow way, for tests."""

from __future__ import annotations

from collections import Counter

from ...protocol.states import FRAME_OPEN, JOB_ENDED, FrameState, JobState
from .farm import Farm
from .frames import CODE, STATES
from .jobs import Job
from .matching import mismatch
from .nodes import Group, Node
from .records import FrameRecord
from .shares import Share
from .state import FarmState


def validate(farm: Farm) -> None:
    """Raise `AssertionError` naming the first thing that does not hold."""
    state = farm.state
    for job in state.jobs.values():
        _check_frames(job)
        _check_job(state, job)
    for node in state.nodes.values():
        _check_node(state, node)
    for group in state.groups.values():
        _check_group(state, group)
    _check_leases(state)
    _check_indexes(state)


def _check_frames(job: Job) -> None:
    table = job.table
    for number, frame_state in enumerate(STATES):
        found = table.states.count(number)
        assert found == table.count(frame_state), f"{job.id}: {frame_state} counts"
    assert sum(table.counts) == len(table), f"{job.id}: counts do not add up"
    assert table.untouched in (FrameState.WAITING, FrameState.CANCELLED)
    film = [] if table.film is None else [table.film]
    assert film in ([], [len(table)]), f"{job.id}: place of the film"
    assert bool(film) == (job.record.spec.film is not None), f"{job.id}: film asked for"
    if table.is_shed:
        assert job.has_ended, f"{job.id}: an open job without its frames"
        assert not job.leases, f"{job.id}: leases of a job without its frames"
        return
    code = CODE[table.untouched]
    for position, present in enumerate(table.states):
        # What has no record is as it was at first, and nobody has it.
        if position not in table.records:
            assert present == code, f"{job.id}: a frame without a record has changed"
            assert position not in job.leases_at, f"{job.id}: a lease without a record"
    for position, record in table.records.items():
        where = f"frame {record.frame} of {job.id}"
        assert record.frame == table.number(position), f"{where}: place"
        if record.state in _CLOSED:
            assert record.state is table.state(position), f"{where}: two states"
            assert not record.leases, f"{where}: leases and state"
            assert position not in job.leases_at, f"{where}: leases and state"
            assert 1 <= record.generation <= job.record.generation, f"{where}: generation"
            _check_history(record, where)
            continue
        assert record.state is table.state(position), f"{where}: two states"
        leases = job.leases_at.get(position, [])
        assert len(leases) <= 2, f"{where}: {len(leases)} leases"
        assert len({lease.node for lease in leases}) == len(leases), f"{where}: twice on one node"
        assert (record.state is FrameState.LEASED) == bool(leases), f"{where}: leases and state"
        assert record.leases == tuple(lease.record for lease in leases), f"{where}: stored leases"
        assert 1 <= record.generation <= job.record.generation, f"{where}: generation"
        _check_history(record, where)
    waiting = set(table.positions(FrameState.WAITING))
    if table.held:
        waiting &= set(table.scouts)
    has_work = bool(waiting) or table.film_waits
    assert has_work == (table.has_fresh() or table.has_retries()), f"{job.id}: queue lost"


_CLOSED = frozenset(FrameState) - FRAME_OPEN


def _check_history(record: FrameRecord, where: str) -> None:
    if record.state is FrameState.DONE:
        assert record.result is not None, f"{where}: done without a result"
    if record.result is not None:
        assert record.result.generation <= record.generation, f"{where}: result of the future"
    assert len(set(record.failed_on)) == len(record.failed_on) <= record.failures, where


def _check_job(state: FarmState, job: Job) -> None:
    record, table = job.record, job.table
    assert job.has_ended == (record.state in JOB_ENDED)
    assert (job.group is None) == job.has_ended, f"{job.id}: group of an ended job"
    assert (record.ended is not None) == job.has_ended, f"{job.id}: time of its end"
    working = Counter(lease.node for lease in job.leases.values())
    assert dict(working) == job.working, f"{job.id}: nodes that work on it"
    listed = {lease.epoch for leases in job.leases_at.values() for lease in leases}
    assert listed == set(job.leases), f"{job.id}: leases by frame"
    most = record.spec.max_nodes
    assert job.tolerated <= len(job.working), f"{job.id}: tolerates more nodes than it has"
    most = max(most, job.tolerated) if most else 0
    assert not most or len(job.working) <= most, f"{job.id}: on too many nodes"
    if job.has_ended:
        assert not job.leases, f"{job.id}: ended with leases"
        assert not job.open_frames(), f"{job.id}: ended with open frames"
        assert not table.film_is_open, f"{job.id}: ended with an open film"
        assert job.queued_as is None, f"{job.id}: ended and queued"
        assert not job.told, f"{job.id}: ended, and nodes were not told"
    elif record.state is JobState.ASSEMBLING:
        assert table.film_is_open, f"{job.id}: assembling too early, or nothing"
    else:
        assert job.open_frames(), f"{job.id}: nothing left to do, and not ended"
    if record.state is JobState.DONE:
        assert table.is_complete, f"{job.id}: done too early"
        if table.film is not None:
            assert table.state(table.film) is FrameState.DONE, f"{job.id}: done without a film"
    if record.state is JobState.FAILED:
        assert table.count(FrameState.FAILED) or record.assembly_failed, f"{job.id}: failed of what"
    if record.state is JobState.QUEUED:
        assert not job.leases, f"{job.id}: queued with leases"
    ready = job.may_start_frames and not job.is_full and job.has_frames()
    assert job.is_queued == ready, f"{job.id}: ready {ready}, queued {job.is_queued}"
    waits_for = {other for other in record.spec.depends_on if not state.is_done(other)}
    assert job.waits_for == waits_for, f"{job.id}: what it waits for"
    if job.leases and record.state not in (JobState.RENDERING, JobState.ASSEMBLING):
        raise AssertionError(f"{job.id}: leases while {record.state.value}")


def _check_node(state: FarmState, node: Node) -> None:
    assert state.nodes[node.id] is node
    takes_work = node.takes_work(state.now)
    assert (node.id in state.idle) <= (takes_work and not node.leases), f"{node.id}: idle"
    if takes_work and not node.leases:
        assert node.id in state.idle, f"{node.id}: idle and not listed"
    for group in state.groups.values():
        fits = node.connected and mismatch(group.requires, node.id, node.record.machine) is None
        assert (group in node.groups) == fits, f"{node.id}: groups"
        assert (node.id in group.nodes) == fits, f"{node.id}: nodes of a group"
    if node.leases:
        assert node.watched, f"{node.id}: gone with leases, and nobody looks"
    for job_id in node.told:
        assert node.id in state.jobs[job_id].told, f"{node.id}: told of {job_id}"
    for lease in node.leases.values():
        assert lease.incarnation == node.record.incarnation, f"{node.id}: lease of another life"
        assert node.is_enabled or not node.record.disabled, f"{node.id}: disabled and leased"
    if node.asked_for is not None:
        assert node.asked_for in state.leases, f"{node.id}: waits for a lease that is over"
    for scene in node.scenes:
        assert node.id in state.scene_nodes[scene], f"{node.id}: scenes"


def _check_group(state: FarmState, group: Group) -> None:
    members = [job for job in state.jobs.values() if job.group is group]
    assert len(members) == group.open_jobs > 0, "open jobs of a group"
    queued: dict[int, dict[str, list[int]]] = {}
    for job in members:
        if job.queued_as is not None:
            priority, submitter = job.queued_as
            assert priority == job.record.priority
            queued.setdefault(priority, {}).setdefault(submitter, []).append(job.record.number)
    assert queued == group.ready, "queue of a group"
    for node in group.nodes.values():
        takes_work = node.takes_work(state.now)
        held = len(node.leases)
        assert (node.id in group.idle) == (takes_work and held == 0), f"{node.id}: idle in group"
        has_room = takes_work and held < state.config.frames_per_node
        assert (node.id in group.spare) == has_room, f"{node.id}: spare in group"


def _check_leases(state: FarmState) -> None:
    shares: Counter[tuple[int, str]] = Counter()
    held: Counter[Share] = Counter()
    for epoch, lease in state.leases.items():
        assert epoch == lease.epoch < state.next_epoch <= state.epoch_ceiling, "epochs"
        job, node = state.jobs[lease.job], state.nodes[lease.node]
        assert job.leases[epoch] is lease
        assert node.leases[epoch] is lease
        assert job.table.record(lease.position).generation == lease.generation, "generation"
        assert lease.share is not None, "a lease that counts for nobody"
        held[lease.share] += 1
    for job in state.jobs.values():
        if job.queued_as is not None:
            shares[job.queued_as] += 1
    active = state.shares.items()
    assert {key: share.queues for key, share in active.items() if share.queues} == dict(shares)
    assert {share: share.leases for share in active.values() if share.leases} == dict(held)
    ahead = {
        (job.record.priority, lease.epoch)
        for node in state.nodes.values()
        for index, lease in enumerate(node.leases.values())
        for job in (state.jobs[lease.job],)
        if index and lease.started is None
    }
    listed = {(priority, epoch) for priority, some in state.ahead.items() for epoch in some}
    assert ahead == listed, "leases that wait behind others"


def _check_indexes(state: FarmState) -> None:
    jobs = state.jobs.values()
    assert state.online == sum(node.connected for node in state.nodes.values()), "online"
    assert state.rendering == sum(bool(node.leases) for node in state.nodes.values()), "rendering"
    assert state.jobs_open == sum(not job.has_ended for job in jobs), "open jobs"
    waiting = sum(job.table.count(FrameState.WAITING) for job in jobs if job.group is not None)
    assert state.frames_waiting == waiting, "waiting frames"
    assert state.numbers == [job.record.number for job in jobs] == sorted(state.ids), "numbers"
    retrying = {job.id for job in jobs if job.group is not None and job.table.has_retries()}
    assert set(state.retrying) == retrying, "jobs with frames to try again"
    if state.idle and state.leases:
        assert state.copies_due is not None, "nobody looks for stragglers"
