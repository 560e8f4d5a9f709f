"""The channel, the script and the search for Blenders, without a Blender."""

from __future__ import annotations

import ast
import json
import stat

import pytest
from rendermill.node.blender import channel, find, sandbox, script
from rendermill.protocol.job import (
    FrameImage,
    JobKind,
    JobSpec,
    OutputRoot,
    Requirements,
    SceneRoot,
)

HOSTILE = "shot\"\n'''\nimport os\nos.abort()\r\u2028\x0b#"


def spec(name: str) -> JobSpec:
    return JobSpec(
        name=name,
        submitter="artist@desk",
        kind=JobKind.ANIMATION,
        blend="scene/shot.blend",
        scene=name,
        frames="1",
        requires=Requirements(blender=(4, 5, 0), engine="CYCLES"),
        roots=(SceneRoot(folder="/film", path="scene"),),
        outputs=(OutputRoot(id="main", label=name, folder="/out"),),
        image=FrameImage(width=1, height=1, file_format="PNG"),
    )


def test_lines_are_split_wherever_the_bytes_are_cut():
    data = "one\r\ntwö\n\nthree".encode()
    for cut in range(len(data)):
        splitter = channel.LineSplitter()
        lines = splitter.feed(data[:cut]) + splitter.feed(data[cut:]) + splitter.end()
        assert lines == ["one", "twö", "", "three"]


def test_a_line_without_end_takes_bounded_memory():
    splitter = channel.LineSplitter(10)
    lines = []
    for _ in range(1000):
        lines += splitter.feed(b"x" * 100)
    lines += splitter.feed(b"tail\nnext\n")
    assert lines == ["x" * 10, "next"]


def test_only_lines_with_the_token_are_replies():
    token = channel.make_token()
    assert channel.parse_reply(f'{token} {{"kind": "beat"}}', token) == {"kind": "beat"}
    for line in (
        '{"kind": "done"}',
        f'x{token} {{"kind": "done"}}',
        f"{token} not JSON",
        f"{token} [1]",
        f'{channel.make_token()} {{"kind": "done"}}',
        "",
    ):
        assert channel.parse_reply(line, token) is None


def test_an_order_is_one_line():
    line = channel.pack_order(3, "open", {"spec": {"name": HOSTILE}})
    assert line.count(b"\n") == 1
    assert json.loads(line) == {"id": 3, "do": "open", "spec": {"name": HOSTILE}}


def test_what_an_artist_types_never_becomes_code():
    plain, hostile = script.generate(spec("shot")), script.generate(spec(HOSTILE))
    assert ast.dump(ast.parse(hostile)) == ast.dump(ast.parse(plain))
    assert ast.dump(ast.parse(plain)) == ast.dump(ast.parse(script.generate()))
    comment = hostile.split('# "spec" of this job:\n')[1]
    fields = json.loads("\n".join(line[2:] for line in comment.splitlines()))
    assert fields["name"] == HOSTILE


def test_the_script_holds_its_modules_word_for_word():
    text = script.generate()
    for name in script.RENDER_MODULES:
        assert script.module_source(name) in text
    for modules in (script.RENDER_MODULES, ("compat", "probe"), ("compat", "film")):
        compile(script.compose(modules), "script", "exec")


def test_named_paths(tmp_path):
    program = tmp_path / "blender-4.5" / "blender"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    with pytest.raises(find.NotABlender, match="not a program"):
        find.candidate_at(program)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    assert find.candidate_at(program) == find.Candidate(program, is_module=False)
    assert find.candidate_at(program.parent).path == program
    with pytest.raises(find.NotABlender, match="no file"):
        find.candidate_at(tmp_path / "gone")
    with pytest.raises(find.NotABlender, match="no Blender in the folder"):
        find.candidate_at(tmp_path)
    environment = tmp_path / "env"
    (environment / "bin").mkdir(parents=True)
    python = environment / "bin" / "python"
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    assert find.candidate_at(environment) == find.Candidate(python, is_module=True)
    found = find.find_blenders([program, program.parent, environment])
    assert [candidate.path for candidate in found][:2] == [program, python]


def test_a_blender_gets_no_secrets(tmp_path, monkeypatch):
    monkeypatch.setenv("RENDERMILL_TOKEN", "secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    made = sandbox.environment(tmp_path)
    assert "secret" not in made.values()
    assert made["CUDA_VISIBLE_DEVICES"] == "1"
    assert made["HOME"] == str(tmp_path / "home")
