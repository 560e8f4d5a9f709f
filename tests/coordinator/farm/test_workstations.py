"""Nodes of people: what the farm does with one that comes and goes, and with its settings."""

from __future__ import annotations

import pytest
from rendermill.coordinator.farm.config import FarmConfig
from rendermill.coordinator.farm.decisions import SaveNode, Send
from rendermill.coordinator.farm.events import (
    FarmRefusal,
    JobSubmitted,
    NodeConfigured,
    NodeDisconnected,
)
from rendermill.coordinator.farm.farm import Farm
from rendermill.protocol.job import Device
from rendermill.protocol.messages import (
    Assign,
    Availability,
    ConfigureNode,
    FrameStarted,
    LeasesReturned,
    MachineChanged,
    Welcome,
)
from rendermill.protocol.node_settings import FarmSettings, NodeSettings
from rendermill.protocol.states import FrameState, NodeState

from .farm_builders import GPU, Scenario, blender, hello, machine, requirements, spec

AWAY = Availability(available=True)
THERE = Availability(available=False, reason="Its user is there.", changes_at=1600.0)


@pytest.fixture
def scene() -> Scenario:
    return Scenario(Farm(FarmConfig()))


def view(scene: Scenario, node: str):
    found = scene.farm.node_view(node, scene.now)
    assert found is not None
    return found
