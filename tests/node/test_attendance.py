"""A node whose user comes and goes: what it tells the farm, what becomes of its frames."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest
from rendermill.node.idle import Idle
from rendermill.node.notices import NoticeKind
from rendermill.node.settings import SettingsFile, SettingsUnreadable
from rendermill.protocol.messages import (
    Assign,
    Availability,
    ConfigureNode,
    FrameDone,
    FrameStarted,
    Hello,
    LeasesReturned,
    SetDraining,
)
from rendermill.protocol.node_settings import FarmSettings, NodeSettings, OnReturn

from .conftest import StartNode, job_spec
from .coordinator import Coordinator, ref

AWAY, THERE = 3600.0, 0.0


@dataclass
class User:
    """Somebody who works at the machine, or does not."""

    idle_seconds: float | None = AWAY
    trouble: str = ""

    def look(self) -> Idle:
        return Idle(self.idle_seconds, ("test",), self.trouble)


@pytest.fixture
def user() -> User:
    return User()


@pytest.fixture
def start_workstation(start_node: StartNode, user: User) -> StartNode:
    def start(on_return: OnReturn = OnReturn.FINISH, **options: object):
        settings = NodeSettings(idle_minutes=10, on_return=on_return)
        chosen = {"settings": settings, "look_seconds": 0.01, "idle": user.look} | options
        return start_node(**chosen)

    return start


async def assign(coordinator: Coordinator, *frames: int) -> None:
    manifest = coordinator.add_scene({"scene/shot.blend": b"BLENDER scene"})
    refs = tuple(ref(frame, epoch=frame) for frame in frames)
    await coordinator.send(Assign(job="job-1", frames=refs, manifest=manifest, spec=job_spec()))


async def told(coordinator: Coordinator, *, available: bool, after: int = 0) -> Availability:
    """Wait until the node has said so, with its first word or later."""

    def says(message: Hello | Availability) -> bool:
        said = message.availability if isinstance(message, Hello) else message
        return said.available is available and not said.reason.startswith("Looking")

    message = await coordinator.hears((Hello, Availability), says, after=after)
    return message.availability if isinstance(message, Hello) else message


async def available(coordinator: Coordinator) -> None:
    """Wait until the node has said that it takes frames."""
    await told(coordinator, available=True)


async def test_a_user_who_is_there_is_told_with_the_first_word(
    coordinator: Coordinator, start_workstation, user: User
) -> None:
    user.idle_seconds = THERE
    await start_workstation()
    hello = await coordinator.hears(Hello)
    assert not hello.availability.available
    assert hello.settings == NodeSettings(idle_minutes=10)
    said = await told(coordinator, available=False)
    assert "Its user is there" in said.reason
    assert said.changes_at is not None
    await assign(coordinator, 1)
    returned = await coordinator.hears(LeasesReturned)
    assert [frame.frame for frame in returned.frames] == [1]
    assert "Its user is there" in returned.reason


async def test_when_the_user_goes_it_takes_frames(
    coordinator: Coordinator, start_workstation, user: User
) -> None:
    user.idle_seconds = THERE
    await start_workstation()
    await told(coordinator, available=False)
    user.idle_seconds = AWAY
    await available(coordinator)
    await assign(coordinator, 1)
    await coordinator.hears(FrameDone)


async def test_the_frame_in_progress_is_finished_and_no_other_begun(
    coordinator: Coordinator, start_workstation, user: User
) -> None:
    node = await start_workstation()
    await available(coordinator)
    node.session.gate.clear()
    await assign(coordinator, 1, 2)
    await coordinator.hears(FrameStarted)
    before = len(coordinator.messages)
    user.idle_seconds = THERE
    returned = await coordinator.hears(LeasesReturned, after=before)
    assert [frame.frame for frame in returned.frames] == [2]
    kinds = [type(message) for message in coordinator.messages[before:]]
    assert kinds.index(Availability) < kinds.index(LeasesReturned)
    node.session.gate.set()
    done = await coordinator.hears(FrameDone)
    assert done.frame.frame == 1
    assert node.session.aborts == 0
    async with asyncio.timeout(60):
        # What Blender held is the user's.
        while not node.session.closed:  # noqa: ASYNC110 - a scripted session has no event for it
            await asyncio.sleep(0.01)


async def test_the_frame_in_progress_is_handed_back(
    coordinator: Coordinator, start_workstation, user: User
) -> None:
    node = await start_workstation(OnReturn.HAND_BACK)
    await available(coordinator)
    node.session.gate.clear()
    await assign(coordinator, 1, 2)
    await coordinator.hears(FrameStarted)
    user.idle_seconds = THERE
    await coordinator.hears(LeasesReturned, lambda said: said.frames[0].frame == 2)
    returned = await coordinator.hears(LeasesReturned, lambda said: said.frames[0].frame == 1)
    assert "Its user is there" in returned.reason
    assert node.session.aborts == 1
    assert not node.session.alive
    assert not coordinator.said(FrameDone)
    # And when the user has gone, it begins anew.
    before = len(coordinator.messages)
    node.session.gate.set()
    user.idle_seconds = AWAY
    await told(coordinator, available=True, after=before)
    await assign(coordinator, 3)
    await coordinator.hears(FrameDone, lambda said: said.frame.frame == 3)


async def test_a_user_who_goes_again_before_the_frame_is_done_is_no_matter(
    coordinator: Coordinator, start_workstation, user: User
) -> None:
    node = await start_workstation()
    await available(coordinator)
    node.session.gate.clear()
    await assign(coordinator, 1)
    await coordinator.hears(FrameStarted)
    before = len(coordinator.messages)
    user.idle_seconds = THERE
    await told(coordinator, available=False, after=before)
    user.idle_seconds = AWAY
    await told(coordinator, available=True, after=before)
    await assign(coordinator, 2)
    node.session.gate.set()
    await coordinator.hears(FrameDone, lambda said: said.frame.frame == 2)
    assert node.session.starts == 1
    assert not node.session.closed


async def test_an_order_to_go_on_does_not_go_before_the_user(
    coordinator: Coordinator, start_workstation, user: User
) -> None:
    user.idle_seconds = THERE
    node = await start_workstation()
    await told(coordinator, available=False)
    await coordinator.send(SetDraining(draining=True))
    await coordinator.send(SetDraining(draining=False))
    await assign(coordinator, 1)
    await coordinator.hears(LeasesReturned)
    assert node.session.frames_rendered == 0


async def test_a_machine_that_cannot_tell_says_so_and_renders_nothing(
    coordinator: Coordinator, start_workstation, user: User
) -> None:
    user.idle_seconds, user.trouble = None, "it has no display."
    node = await start_workstation()
    said = await told(coordinator, available=False)
    assert "cannot tell whether its user is away: it has no display." in said.reason
    assert any("cannot be told here" in text for text in node.told(NoticeKind.PROBLEM))


async def test_a_look_that_fails_keeps_it_from_rendering(
    coordinator: Coordinator, start_workstation
) -> None:
    def broken() -> Idle:
        raise OSError("broken")

    await start_workstation(idle=broken)
    said = await told(coordinator, available=False)
    assert "could not be looked at" in said.reason


async def test_what_the_coordinator_sets_holds_at_once_and_after_the_next_start(
    coordinator: Coordinator, start_workstation, user: User
) -> None:
    user.idle_seconds = THERE
    node = await start_workstation()
    await told(coordinator, available=False)
    await coordinator.send(ConfigureNode(settings=FarmSettings(idle_minutes=0.0)))
    await told(coordinator, available=True)
    assert any("it always renders" in text for text in node.told(NoticeKind.AVAILABILITY))
    await node.stop()
    before = len(coordinator.messages)
    await start_workstation()
    hello = await coordinator.hears(Hello, after=before)
    # Its own, and what it holds to.
    assert hello.settings == NodeSettings(idle_minutes=10)
    await told(coordinator, available=True, after=before)


async def test_a_stricter_way_of_the_users_return_holds_for_the_frame_in_progress(
    coordinator: Coordinator, start_workstation, user: User
) -> None:
    node = await start_workstation()
    await available(coordinator)
    node.session.gate.clear()
    await assign(coordinator, 1)
    await coordinator.hears(FrameStarted)
    user.idle_seconds = THERE
    await told(coordinator, available=False)
    settings = FarmSettings(on_return=OnReturn.HAND_BACK)
    await coordinator.send(ConfigureNode(settings=settings))
    returned = await coordinator.hears(LeasesReturned)
    assert [frame.frame for frame in returned.frames] == [1]


def test_settings_survive_and_damage_is_told(tmp_path: Path) -> None:
    file = SettingsFile(tmp_path / "settings" / "farm.json")
    assert file.load() == FarmSettings()
    kept = FarmSettings(tags=("a",), schedule="mon 08:00-09:00", on_return=OnReturn.HAND_BACK)
    file.store(kept)
    assert SettingsFile(tmp_path / "settings" / "farm.json").load() == kept
    (tmp_path / "settings" / "farm.json").write_text('{"schedule": "nightly"}')
    with pytest.raises(SettingsUnreadable, match="those it was started with hold"):
        file.load()
