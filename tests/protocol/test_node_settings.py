"""Settings of a node: what can be set, and who goes before whom."""

from __future__ import annotations

import pytest
from rendermill.protocol.node_settings import (
    NOTHING_SET,
    PLAIN,
    FarmSettings,
    NodeSettings,
    OnReturn,
    SettingsError,
    change,
    check,
    effective,
)

OWN = NodeSettings(tags=("desk",), schedule="mon-fri 19:00-07:30", idle_minutes=10)


def test_what_the_farm_sets_goes_before_the_nodes_own_field_by_field() -> None:
    farm = FarmSettings(tags=("fast",), idle_minutes=0.0)
    assert effective(OWN, farm) == NodeSettings(tags=("fast",), schedule="mon-fri 19:00-07:30")
    assert effective(OWN, NOTHING_SET) == OWN


def test_a_change_keeps_what_it_does_not_name() -> None:
    farm = change(FarmSettings(tags=("fast",)), FarmSettings(max_load=0.5), ())
    assert farm == FarmSettings(tags=("fast",), max_load=0.5)


def test_a_reset_gives_the_nodes_own_back() -> None:
    farm = change(FarmSettings(tags=("fast",), max_load=0.5), NOTHING_SET, ("tags",))
    assert farm == FarmSettings(max_load=0.5)
    assert effective(OWN, farm).tags == ("desk",)


def test_what_is_reset_and_set_at_once_is_set() -> None:
    assert change(
        FarmSettings(schedule="sat 08:00-09:00"), FarmSettings(schedule=""), ("schedule",)
    ) == FarmSettings(schedule="")


def test_settings_become_canonical() -> None:
    found = check(NodeSettings(tags=("b", "a", "b"), schedule="  mon   08:00-09:00 "))
    assert found == NodeSettings(tags=("a", "b"), schedule="mon 08:00-09:00")
    assert check(NodeSettings(schedule="00:00-24:00")) == PLAIN


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (FarmSettings(tags=("two words",)), "'two words' is no tag"),
        (FarmSettings(tags=("",)), "'' is no tag"),
        (FarmSettings(tags=("x" * 65,)), "is no tag"),
        (FarmSettings(tags=tuple(map(str, range(33)))), "at most 32 tags"),
        (FarmSettings(schedule="nightly"), "no window of days and times"),
        (FarmSettings(idle_minutes=-1.0), "no time without input"),
        (FarmSettings(idle_minutes=float("inf")), "no time without input"),
        (FarmSettings(idle_minutes=float("nan")), "no time without input"),
        (FarmSettings(max_load=50.0), "no load"),
        (FarmSettings(max_load=0.001), "no load"),
    ],
)
def test_what_cannot_be_gets_one_sentence(changes: FarmSettings, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint) as caught:
        change(NOTHING_SET, changes, ())
    assert "\n" not in str(caught.value)


def test_a_name_that_is_no_setting_is_refused() -> None:
    with pytest.raises(SettingsError, match="no setting 'colour'"):
        change(NOTHING_SET, NOTHING_SET, ("colour",))


def test_a_node_with_a_rule_is_a_workstation() -> None:
    assert not NodeSettings(tags=("a",), on_return=OnReturn.HAND_BACK).is_workstation
    assert NodeSettings(max_load=0.5).is_workstation
