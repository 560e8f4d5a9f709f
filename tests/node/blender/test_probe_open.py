"""What a probe may conclude from a Blender that gives no answer, and what it must ask again."""

from __future__ import annotations

import pytest
from rendermill.node import equipment
from rendermill.node.blender import probe
from rendermill.node.blender.probe import ProbeFailed, ProbeOpen, examine
from rendermill.node.blender.throwaway import run_once
from rendermill.node.equipment import Equipment, equip, probe_fully
from rendermill.node.identity import NodeError
from rendermill.node.notices import Notice
from rendermill.protocol.job import Capability

from ..fake_blender import fake_blender, only


@pytest.mark.parametrize(
    ("action", "is_open"),
    [
        ("kill -KILL $$", True),
        ("kill -TERM $$", True),
        ("echo Malloc returns null >&2; kill -ABRT $$", True),
        ("exec sleep 600", True),
        ("kill -SEGV $$", False),
        ("kill -ABRT $$", False),
        ("exit 3", False),
    ],
)
async def test_only_what_the_blender_did_itself_is_an_answer(
    tmp_path, monkeypatch, action, is_open
):
    ask = probe._ask

    async def ask_briefly(*words):
        # Only where no answer will come: the others may take their time on a busy machine.
        *words, question, seconds = words
        is_endless = "sleep" in action and question == "BLENDER_EEVEE_NEXT"
        return await ask(*words, question, 1.0 if is_endless else seconds)

    monkeypatch.setattr(probe, "_ask", ask_briefly)
    candidate = fake_blender(tmp_path, only("blender_eevee_next", action))
    answers = tmp_path / "answers.json"
    examined = await examine(candidate, tmp_path / "scratch", answers=answers)
    assert examined.info.engines == ("CYCLES",)
    assert Capability.OPENGL not in examined.info.capabilities
    assert examined.open_questions == ({"BLENDER_EEVEE_NEXT"} if is_open else set())
    assert answers.exists() != is_open, "kept exactly when nothing is left to find out"
    said = " ".join(examined.info.problems)
    assert ("could not be tried" in said) == is_open
    assert ("does not work here" in said) != is_open


async def test_gpus_that_were_not_listed_for_want_of_time_are_not_known_to_be_none(
    tmp_path, monkeypatch
):
    candidate = fake_blender(tmp_path, only("gpus", "kill -KILL $$"))
    answers = tmp_path / "answers.json"
    examined = await examine(candidate, tmp_path / "scratch", answers=answers)
    assert examined.info.gpus == ()
    assert examined.open_questions == {"gpus"}
    assert not answers.exists()


async def test_a_blender_that_was_ended_is_not_one_that_does_not_run(tmp_path):
    killed = fake_blender(tmp_path / "killed", "kill -KILL $$")
    with pytest.raises(ProbeOpen, match="did not run"):
        await examine(killed, tmp_path / "scratch")
    crashed = fake_blender(tmp_path / "crashed", "kill -SEGV $$")
    with pytest.raises(ProbeFailed, match="cannot run") as caught:
        await examine(crashed, tmp_path / "scratch")
    assert not isinstance(caught.value, ProbeOpen)


async def test_a_full_probe_takes_nothing_away_that_it_could_not_ask(tmp_path):
    notices: list[Notice] = []
    candidate = fake_blender(tmp_path)
    scratch, answers = tmp_path / "scratch", tmp_path / "answers.json"
    before = (await examine(candidate, scratch)).info
    assert before.engines == ("CYCLES", "BLENDER_EEVEE_NEXT")
    had = Equipment((before,), "none", (candidate,))

    fake_blender(tmp_path, '[ "$question" = facts ] || kill -KILL $$')
    after = await probe_fully(had, scratch, answers, notices.append)
    assert after.has_open_questions
    assert after.blenders[0].engines == before.engines
    assert after.blenders[0].gpus == before.gpus
    assert after.blenders[0].capabilities == before.capabilities

    fake_blender(tmp_path, "kill -KILL $$")
    after = await probe_fully(had, scratch, answers, notices.append)
    assert after.has_open_questions
    assert after.blenders == had.blenders
    assert not answers.exists()

    fake_blender(tmp_path, "kill -SEGV $$")
    after = await probe_fully(had, scratch, answers, notices.append)
    assert not after.has_open_questions
    assert after.blenders == ()


async def test_a_machine_whose_blenders_are_silent_asks_again(tmp_path, monkeypatch):
    notices: list[Notice] = []

    def pauses() -> int:
        return sum("asking again" in notice.text for notice in notices)

    # The first time it is ended from outside, from then on it answers. The mark lies where a
    # sandbox lets it write.
    mark = tmp_path / "scratch" / "asked"
    candidate = fake_blender(tmp_path, f'[ -e "{mark}" ] || {{ : > "{mark}"; kill -KILL $$; }}')
    monkeypatch.setattr(equipment, "find_blenders", lambda named: [candidate])
    monkeypatch.setattr(equipment, "ASK_AGAIN_SECONDS", (0.0, 0.0, 0.0))
    made = await equip((), tmp_path / "scratch", tmp_path / "answers.json", notices.append)
    assert [info.engines for info in made.blenders] == [("CYCLES",)]
    assert pauses() == 1

    # One that never answers ends it, and one that cannot run does so at once.
    fake_blender(tmp_path, "kill -KILL $$")
    notices.clear()
    with pytest.raises(NodeError):
        await equip((), tmp_path / "scratch", tmp_path / "answers.json", notices.append)
    assert pauses() == len(equipment.ASK_AGAIN_SECONDS)
    fake_blender(tmp_path, "exit 1")
    notices.clear()
    with pytest.raises(NodeError):
        await equip((), tmp_path / "scratch", tmp_path / "answers.json", notices.append)
    assert pauses() == 0


async def test_how_a_process_for_one_task_ended(tmp_path):
    folder = tmp_path / "scratch" / "own"
    folder.mkdir(parents=True)
    missing = await run_once(
        tmp_path / "nothing",
        is_module=False,
        modules=("probe",),
        parameters={},
        folder=folder,
        scratch=folder.parent,
        seconds=5.0,
    )
    assert missing.how.startswith("cannot be started")
    assert not missing.by_chance
