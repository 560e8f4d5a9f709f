"""Why nothing of a job is rendered although frames wait: one sentence that a person can act on."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from ...protocol.states import FrameState, JobState, WaitingKind
from .jobs import Job
from .matching import Mismatch, explain, fits_memory, mismatch
from .nodes import Node
from .scheduling import may_have
from .state import FarmState

_EXPLAINED_MOST = 1000
"""Sentences remembered, one for each set of requirements."""
_REASONS_SHOWN = 3
"""Different reasons told in one sentence; more would not be read."""


class Waiting(NamedTuple):
    """Why nothing of a job is rendered: for programs, and as a sentence."""

    kind: WaitingKind = WaitingKind.NOTHING
    sentence: str = ""


_TURN = Waiting(WaitingKind.TURN, "Waits for a free node.")


class WaitingReasons:
    """Finds the sentences; remembers those that took a look at every node."""

    def __init__(self, state: FarmState) -> None:
        self._state = state
        self._explained: dict[object, tuple[int, str]] = {}

    def why(self, job: Job) -> Waiting:
        """Return why nothing of the job is rendered."""
        record, table = job.record, job.table
        if job.has_ended or not (table.count(FrameState.WAITING) or table.film_waits):
            return Waiting()
        if record.paused:
            return Waiting(WaitingKind.PAUSED, "Paused.")
        if job.waits_for:
            return self._waits_for(job)
        if table.held and not job.has_frames() and not job.leases:
            return Waiting(
                WaitingKind.SCOUTS,
                "Its scout frames are rendered; approve them to render the rest, or reject them.",
            )
        if job.leases:
            return Waiting()
        return self._no_node(job)

    def _waits_for(self, job: Job) -> Waiting:
        others = [self._state.jobs[other] for other in job.waits_for]
        ended = [other for other in others if other.has_ended]
        # One that ended without being done comes first: it needs a person.
        other = min(ended or others, key=lambda one: one.record.number).record
        sentence = f'Waits for the job "{other.spec.name}"'
        lost = {JobState.CANCELLED: "is cancelled", JobState.FAILED: "has failed"}.get(other.state)
        if lost is not None:
            sentence = f"{sentence}, which {lost}; retry that one, or cancel this one."
            return Waiting(WaitingKind.LOST_JOB, sentence)
        if len(others) > 1:
            sentence = f"{sentence} and {len(others) - 1} more"
        return Waiting(WaitingKind.JOB, f"{sentence}.")

    def _no_node(self, job: Job) -> Waiting:
        state, group = self._state, job.group
        if group is not None and not job.record.penalties:
            # The usual case, found without looking at every node.
            requires = job.record.spec.requires
            for node in group.nodes.values():
                if node.takes_work(state.now) and fits_memory(requires, node.record.machine):
                    return _TURN
        usable = state.usable(job)
        if not usable:
            return Waiting(WaitingKind.NO_NODE, self._explain(job))
        able = [node for node in usable if may_have(state, node, job)]
        if not able:
            away = [one for one in job.record.penalties if one.keeps_away(state.now)]
            why = f": {away[-1].reason}" if away else "."
            return Waiting(WaitingKind.NO_NODE, f"It keeps away from every node for now{why}")
        if any(node.takes_work(state.now) for node in able):
            return _TURN
        reasons = Counter(idle_because(node, state.now) for node in able)
        told = "; ".join(
            f"{count} {'node' if count == 1 else 'nodes'}: {reason.rstrip('.')}"
            for reason, count in reasons.most_common(_REASONS_SHOWN)
        )
        return Waiting(WaitingKind.NO_NODE, f"No node that could render it takes work now. {told}.")

    def _explain(self, job: Job) -> str:
        """Say which requirement fails on how many nodes; remembered until a node changes."""
        state = self._state
        requires = job.record.spec.requires
        known = self._explained.get(requires)
        if known is not None and known[0] == state.nodes_version and not job.record.penalties:
            return known[1]
        found: list[Mismatch] = []
        away = 0
        for node in state.nodes.values():
            reason = mismatch(requires, node.id, node.record.machine)
            if not node.connected:
                away += reason is None
                continue
            if reason is None:
                reason = (
                    Mismatch("more memory", "ran out of it", "ran out of it")
                    if node.is_enabled
                    else Mismatch("a node at work", "is drained", "are drained")
                )
            found.append(reason)
        sentence = explain(found)
        if away:
            those = "1 node that could render it is" if away == 1 else f"{away} that could are"
            sentence = f"{sentence} {those} not connected."
        if not job.record.penalties:
            if len(self._explained) > _EXPLAINED_MOST:
                self._explained.clear()
            self._explained[requires] = (state.nodes_version, sentence)
        return sentence


def idle_because(node: Node, now: float) -> str:  # noqa: PLR0911 - one line for each reason
    """Return why a node takes no work now; '' when it does, or when it is not connected."""
    if not node.connected:
        return ""
    if node.record.disabled:
        return "Disabled."
    if node.record.drained:
        return "Finishes what it has and takes nothing new."
    if not node.available:
        return node.unavailable_because or "Not available now."
    if node.suspect:
        return "Silent for longer than usual."
    if node.resting_until > now:
        return f"Rests for {node.resting_until - now:.0f} s: {node.resting_because}"
    return ""
