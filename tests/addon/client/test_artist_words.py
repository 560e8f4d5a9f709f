"""Nobody who meets an error in Blender is sent to a terminal."""

from __future__ import annotations

import pytest
from rendermill.addon.client.artist_words import artist_sentence
from rendermill.addon.client.errors import FolderNeeded
from rendermill.wire.errors import NothingFound, NotJoined, Unreachable

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


def test_any_other_error_says_what_it_says():
    assert artist_sentence(Unreachable("It does not answer.")) == "It does not answer."
