"""Settings of a node over the REST interface and the node's line, with a real coordinator."""

from __future__ import annotations

import pytest
from rendermill.protocol.messages import ConfigureNode
from rendermill.protocol.node_settings import FarmSettings, NodeSettings, OnReturn
from rendermill.protocol.states import NodeState
from rendermill.protocol.views import NodeView
from rendermill.wire.errors import NotAllowed, NotFound, Refused

OWN = NodeSettings(tags=("desk",), idle_minutes=10.0)


async def test_a_change_reaches_the_node(farm, make_node):
    node = make_node(farm)
    async with node.connected(settings=OWN):
        path = f"/api/v1/nodes/{node.node}"
        body = {"schedule": "sat 08:00-20:00", "on_return": "hand-back"}
        view = await farm.patch(path, NodeView, body=body)
        wanted = FarmSettings(schedule="sat 08:00-20:00", on_return=OnReturn.HAND_BACK)
        assert view.farm_settings == wanted
        assert view.settings == NodeSettings(
            tags=("desk",),
            idle_minutes=10.0,
            schedule="sat 08:00-20:00",
            on_return=OnReturn.HAND_BACK,
        )
        assert (await node.receive_a(ConfigureNode)).settings == wanted
        view = await farm.patch(path, NodeView, body={"reset": ["on_return"], "tags": []})
        wanted = FarmSettings(schedule="sat 08:00-20:00", tags=())
        assert (await node.receive_a(ConfigureNode)).settings == wanted
        assert view.settings.tags == ()
        assert view.state is NodeState.IDLE


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        ({"schedule": "nightly"}, 422, "no window of days and times"),
        ({"max_load": 50.0}, 422, "50 is no load"),
        ({"idle_minutes": -1.0}, 422, "no time without input"),
        ({"tags": ["two words"]}, 422, "no tag"),
        ({"reset": ["colour"]}, 422, "no setting 'colour'"),
        ({"on_return": "never"}, 400, "never"),
        ({"colour": 1}, 400, "colour"),
    ],
)
async def test_what_cannot_be_set_changes_nothing(farm, make_node, body, status, sentence):
    node = make_node(farm)
    async with node.connected(settings=OWN):
        path = f"/api/v1/nodes/{node.node}"
        with pytest.raises(Refused, match=sentence) as refusal:
            await farm.patch(path, NodeView, body=body)
        assert refusal.value.problem.status == status
        assert (await farm.get(path, NodeView)).settings == OWN


async def test_a_node_that_is_none(farm):
    with pytest.raises(NotFound, match="There is no node"):
        await farm.patch(f"/api/v1/nodes/{'0' * 32}", NodeView, body={"tags": ["a"]})


@pytest.mark.parametrize("role", ["view", "submit", "node"])
async def test_only_an_administrator_sets(farm, make_node, as_role, role):
    node = make_node(farm)
    async with node.connected(settings=OWN), as_role(role) as member:
        with pytest.raises(NotAllowed):
            await member.patch(f"/api/v1/nodes/{node.node}", NodeView, body={"tags": ["a"]})
