"""The frame of the command line: words, help, exit codes. In this process, where that is enough."""

from __future__ import annotations

import subprocess
import sys

import pytest
from rendermill import __version__, commands
from rendermill.commands import SUBCOMMANDS, main
from rendermill.commands.exit_codes import ExitCode
from rendermill.commands.printing import duration, escape, printable, size


def test_the_words_of_the_design_are_there(capsys):
    assert main(["--help"]) == ExitCode.DONE
    lines = capsys.readouterr().out.splitlines()
    shown = [line.split()[0] for line in lines if line.startswith("    ") and line[4] != " "]
    words = "demo coordinator node join submit jobs job nodes watch fetch cancel pause resume retry"
    more = "change approve reject remove drain disable enable forgive tokens audit backup doctor"
    assert shown == [*words.split(), *more.split()]


@pytest.mark.parametrize("word", list(SUBCOMMANDS))
def test_every_command_explains_itself(word, capsys):
    assert main([word, "--help"]) == ExitCode.DONE
    assert f"rendermill {word}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["bogus"],
        ["jobs", "--limit", "many"],
        ["jobs", "--state", "sleeping"],
        ["submit"],
        ["submit", "nowhere.blend"],
        ["submit", __file__, "--frames", "5-1"],
        ["submit", __file__, "--priority", "101"],
        ["submit", __file__, "--image", "--frames", "1-2"],
        ["submit", __file__, "--blender", "/no/such/blender"],
        ["join", "not-a-token"],
        ["retry", "x", "--frames", "1-"],
    ],
)
def test_wrong_usage_is_2_and_one_sentence(words, capsys):
    # Frames of a retry are looked at when a coordinator is there; without one that comes first.
    expected = ExitCode.NO_COORDINATOR if words[:1] == ["retry"] else ExitCode.USAGE
    assert main(words) == expected
    assert capsys.readouterr().err.splitlines()[-1].startswith("rendermill")


@pytest.mark.parametrize(
    "words",
    [["jobs"], ["nodes"], ["job", "x"], ["watch"], ["fetch", "x"], ["cancel", "x"]],
)
def test_no_coordinator_is_3_and_says_what_to_do(words, capsys):
    assert main(words) == ExitCode.NO_COORDINATOR
    assert "rendermill coordinator" in capsys.readouterr().err


def test_a_command_that_is_not_installed_leaves_the_others(capsys, monkeypatch):
    monkeypatch.setitem(SUBCOMMANDS, "gone", ("no_such_module", "what is not there"))
    assert main(["gone"]) == ExitCode.USAGE
    assert "no command 'gone'" in capsys.readouterr().err
    assert main(["--version"]) == ExitCode.DONE
    assert capsys.readouterr().out == f"rendermill {__version__}\n"


def test_listing_does_not_wait_for_the_coordinators_imports():
    code = (
        "import sys; from rendermill.commands import _parse; _parse(['jobs']);"
        "print(sorted(m for m in sys.modules if m in ('sqlalchemy', 'bpy', 'PIL')))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_names_cannot_style_or_move_the_terminal():
    assert printable("a\x1b[31m\r\nb\u202e") == "a\ufffd[31m\ufffd\ufffdb\ufffd"
    assert escape("[red]x") == r"\[red]x"


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2.5e12, "2.5 TB")]
)
def test_sizes(count, text):
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (0.42, "0.4 s"), (75, "75 s"), (720, "12 min"), (11_100, "3 h 05")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_the_package_is_documented():
    assert commands.__doc__
