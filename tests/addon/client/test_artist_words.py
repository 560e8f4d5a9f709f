"""Nobody who meets an error in Blender is sent to a terminal."""

from __future__ import annotations

import pytest
from rendermill.addon.client.artist_words import artist_sentence
from rendermill.addon.client.errors import FolderNeeded
from rendermill.protocol.views import Problem
from rendermill.wire.errors import NothingFound, NotJoined, Refused, ShutOut, Unreachable

JOB = "a" * 32


@pytest.mark.parametrize(
    ("error", "part"),
    [
        (NothingFound(()), "Start one on this computer"),
        (NothingFound(("Attic does not answer.",)), "Tried: Attic does not answer."),
        (NotJoined("https://studio-pc:7878"), "https://studio-pc:7878"),
        (FolderNeeded("Job 7 was not sent from here.", JOB), "Job 7 was not sent from here."),
    ],
)
def test_no_command_is_named(error: Exception, part: str):
    assert "`rendermill" in str(error), "the command line has it"
    sentence = artist_sentence(error)
    assert part in sentence
    assert "rendermill " not in sentence
    assert "--" not in sentence


def test_who_was_shut_out_is_told_where_to_get_in_again():
    sentence = artist_sentence(ShutOut("The token is not known here; join the farm again."))
    assert "revoked" in sentence
    assert "paste it in the preferences" in sentence


def test_any_other_error_says_what_it_says():
    problem = Problem(title="Conflict", status=409, detail="The job has ended.")
    assert artist_sentence(Refused(problem)) == "The job has ended."


def test_what_the_operating_system_says_is_for_the_command_line():
    error = Unreachable("It does not answer.", "[Errno 111] Connect call failed")
    assert str(error) == "It does not answer. ([Errno 111] Connect call failed)"
    assert artist_sentence(error) == "It does not answer."
