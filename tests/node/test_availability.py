"""When a node may render: hours, user and load together, with every input in the test's hand."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from rendermill.node.availability import AvailabilityRule, MeanLoad, Seen
from rendermill.protocol.messages import Availability
from rendermill.protocol.node_settings import NodeSettings

MONDAY_NOON = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()
HOUR = 3600


def local(now: float) -> datetime:
    return datetime.fromtimestamp(now, UTC)


def judge(
    settings: NodeSettings,
    *,
    now: float = MONDAY_NOON,
    idle: float | None = None,
    load: float | None = None,
    trouble: str = "",
) -> Availability:
    seen = Seen(now=now, idle_seconds=idle, idle_trouble=trouble, load=load)
    return AvailabilityRule(settings, local).judge(seen)


def test_without_a_rule_it_always_renders() -> None:
    assert judge(NodeSettings()) == Availability(available=True)


def test_outside_its_hours_it_says_when_they_begin() -> None:
    found = judge(NodeSettings(schedule="mon-fri 19:00-07:30"))
    assert not found.available
    assert found.reason == ("Outside its hours (mon-fri 19:00-07:30); it renders again from 19:00.")
    assert found.changes_at == MONDAY_NOON + 7 * HOUR


def test_hours_that_begin_another_day_name_the_day() -> None:
    found = judge(NodeSettings(schedule="sat 08:00-20:00"))
    assert "renders again from 08:00 on Saturday" in found.reason


def test_in_its_hours_it_says_when_they_end() -> None:
    found = judge(NodeSettings(schedule="mon-fri 19:00-07:30"), now=MONDAY_NOON + 8 * HOUR)
    assert found.available
    assert found.changes_at == pytest.approx(MONDAY_NOON + 19.5 * HOUR)


def test_a_user_who_is_there_keeps_it_from_rendering_until_so_long_after_the_last_input() -> None:
    found = judge(NodeSettings(idle_minutes=10), idle=60.0)
    assert not found.available
    assert found.reason == "Its user is there; it renders after 10 minutes without input."
    assert found.changes_at == MONDAY_NOON + 540


@pytest.mark.parametrize(("idle", "available"), [(599.9, False), (600.0, True), (9e9, True)])
def test_the_user_is_away_after_exactly_so_long(idle: float, available: bool) -> None:
    assert judge(NodeSettings(idle_minutes=10), idle=idle).available is available


def test_a_machine_that_cannot_tell_is_never_taken_for_one_whose_user_is_away() -> None:
    found = judge(NodeSettings(idle_minutes=10), idle=None, trouble="it has no display.")
    assert not found.available
    assert found.reason == "This machine cannot tell whether its user is away: it has no display."
    assert found.changes_at is None


def test_the_hours_come_before_the_user_and_the_user_before_the_load() -> None:
    settings = NodeSettings(schedule="mon-fri 19:00-07:30", idle_minutes=10, max_load=0.5)
    assert "hours" in judge(settings, idle=0.0, load=1.0).reason
    night = MONDAY_NOON + 8 * HOUR
    assert "user" in judge(settings, now=night, idle=0.0, load=1.0).reason
    assert "programs" in judge(settings, now=night, idle=700.0, load=1.0).reason
    assert judge(settings, now=night, idle=700.0, load=0.1).available


def test_until_the_load_is_known_it_does_not_render() -> None:
    assert not judge(NodeSettings(max_load=0.5), load=None).available


def test_the_load_must_fall_well_below_its_limit_before_it_renders_again() -> None:
    rule = AvailabilityRule(NodeSettings(max_load=0.5), local)

    def at(load: float) -> bool:
        return rule.judge(Seen(now=MONDAY_NOON, load=load)).available

    assert [at(load) for load in (0.5, 0.51, 0.45, 0.41, 0.4, 0.45, 0.51)] == [
        *(True, False, False, False),
        *(True, True, False),
    ]


def test_the_reason_of_a_load_stays_the_same_while_it_changes() -> None:
    settings = NodeSettings(max_load=0.5)
    assert judge(settings, load=0.9).reason == judge(settings, load=0.7).reason


def test_the_mean_of_a_load_is_weighted_by_time_and_forgets() -> None:
    mean = MeanLoad()
    assert mean.mean is None
    mean.add(0, 10, 1.0)
    mean.add(10, 15, 0.0)
    assert mean.mean == pytest.approx(2 / 3)
    mean.add(15, 45, 0.0)
    assert mean.mean == 0.0
