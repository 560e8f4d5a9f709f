"""Where a Python for an environment is looked for, and what is skipped without one."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
OTHER = (3, 99)
"""No machine has it, unless a test makes it."""


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Import a script under the name by which the others know it."""

    def script(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return script


@pytest.fixture
def environment(
    load: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> ModuleType:
    """The script, on a machine with an empty path and a pyenv without versions."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    return load("environment")


def program(path: Path, script: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
    path.chmod(0o755)
    return str(path)


def test_the_running_python_comes_first(environment: Any):
    assert environment.find_python(sys.version_info[:2]) == sys.executable


def test_pyenv_is_asked_where_its_shim_does_not_start(environment: Any, tmp_path: Path):
    program(tmp_path / "bin/python3.99", "echo 'no version is set' >&2; exit 127")
    versions = tmp_path / "pyenv/versions"
    for name in ("3.99.2", "3.99.10", "3.99.11t", "3.99.12rc1"):
        program(versions / name / "bin/python3.99", "echo 3 99")
    assert environment.find_python(OTHER) == str(versions / "3.99.10/bin/python3.99")


def test_without_one_it_says_how_to_get_it(environment: Any, tmp_path: Path):
    program(tmp_path / "pyenv/versions/3.99.1/bin/python3.99", "exit 1")
    with pytest.raises(environment.NoPython, match=r"Install Python 3\.99 .* or install uv"):
        environment.find_python(OTHER)


def test_uv_that_fetches_none_is_as_good_as_no_uv(environment: Any, tmp_path: Path):
    program(tmp_path / "bin/uv", "echo 'the network is down' >&2; exit 2")
    with pytest.raises(environment.NoPython):
        environment.find_python(OTHER)


def test_a_stage_without_its_python_is_skipped_and_counted(
    environment: Any,
    load: Callable[[str], ModuleType],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    checks: Any = load("test")
    far = environment.Environment("bpy-far", "bpy-5.2", OTHER)

    def ensure(one: Any) -> None:
        if one is far:
            environment.find_python(one.python)

    monkeypatch.setattr(environment, "ensure", ensure)
    monkeypatch.setattr(environment, "ensure_system", lambda *_: None)
    ran: list[str] = []

    def stage(name: str, where: Any, **options: bool) -> Any:
        return checks.Stage(name, "a check", where, lambda *_: ran.append(name), **options)

    stages = (stage("near", None), stage("far", far, optional=True))
    monkeypatch.setattr(checks, "STAGES", stages)
    monkeypatch.setattr(sys, "argv", ["test.py"])
    assert checks.main() == 0
    assert ran == ["near"]
    *_, reason, totals = capsys.readouterr().out.splitlines()
    assert reason.startswith("SKIPPED far, a check: This needs Python 3.99")
    assert totals == "0 passed, 0 failed, 1 skipped"

    monkeypatch.setattr(checks, "STAGES", (stage("far", far),))
    assert checks.main() == 1
    assert ran == ["near"]
