"""A program that passes for a Blender where one is probed, and does what a test wants besides.

A shell script that answers as `scripts.probe` does in a real Blender.
"""

from __future__ import annotations

import json
from pathlib import Path

from rendermill.node.blender import find

FACTS = {
    "version": [4, 5, 3],
    "build": "test",
    "able": ["usd"],
    "engines": ["CYCLES", "BLENDER_EEVEE_NEXT"],
}
GOOD = {"colours": 7}

SCRIPT = """#!/bin/sh
for last; do :; done
folder=$(dirname "$last")
question=$(basename "$folder")
{extra}
cp "{answers}/$question" "$folder/answer.json"
"""


def fake_blender(folder: Path, extra: str = "") -> find.Candidate:
    """A program that answers every question, but for what the shell text ``extra`` does first."""
    answers = folder / "prepared"
    answers.mkdir(parents=True, exist_ok=True)
    for question, answer in (
        ("facts", FACTS),
        ("gpus", {"gpus": [{"backend": "CUDA", "name": "card", "id": "1"}]}),
        ("cycles", GOOD),
        ("blender_eevee_next", GOOD),
    ):
        (answers / question).write_text(json.dumps(answer))
    program = folder / "blender"
    program.write_text(SCRIPT.format(extra=extra, answers=answers))
    program.chmod(0o755)
    return find.candidate_at(program)


def only(question: str, action: str) -> str:
    """The shell text that does something when this question is asked, and else nothing."""
    return f'if [ "$question" = {question} ]; then {action}; fi'
