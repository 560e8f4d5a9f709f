"""What holds for every test: a scrubbed environment, folders of our own, and one Blender at most.

Tests that import bpy in their own process carry ``pytestmark = pytest.mark.bpy`` at the top of
their module and run only with ``-m bpy``, in a pytest process per Blender version. Their modules
are told apart by reading them, not by importing them: importing one would load Blender.
"""

from __future__ import annotations

import ast
import asyncio
import os
import re
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path

import hypothesis
import pytest

_LOOPBACK = "127.0.0.1"

# No time limit for one example: the machine may be busy, and `timeout` ends what hangs. The same
# examples every time, so that a failure is a failure for everybody.
hypothesis.settings.register_profile("rendermill", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("rendermill")

_FOLDERS = pytest.StashKey[Path]()
_SESSION = pytest.StashKey[pytest.Session]()
_LEFT_OUT = pytest.StashKey[set[Path]]()


def pytest_configure(config: pytest.Config) -> None:
    """Give this session an environment in which no setting of the user can be seen."""
    for name in list(os.environ):
        if name.startswith("RENDERMILL_FAULT_"):
            continue  # Not of the product: how long the tests in `tests/faults` run.
        if name.lower().endswith("_proxy") or name.startswith(("RENDERMILL_", "BLENDER_")):
            del os.environ[name]
    folder = Path(tempfile.mkdtemp(prefix="rendermill-tests-"))
    config.stash[_FOLDERS] = folder
    config.stash[_LEFT_OUT] = set()
    os.environ["RENDERMILL_HOME"] = str(folder / "home")
    os.environ["RENDERMILL_INTERFACE"] = _LOOPBACK
    # Blender reads this when it starts: no preferences, add-ons or start-up file of the user.
    os.environ["BLENDER_USER_RESOURCES"] = str(folder / "blender")
    (folder / "blender").mkdir()


def pytest_report_header(config: pytest.Config) -> str:
    """Say whether this is the run with Blender inside."""
    inside = "with bpy in this process" if _bpy_wanted(config) else "without bpy in this process"
    return f"rendermill: {inside}, HOME {config.stash[_FOLDERS]}"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the modules of the other kind, without importing them."""
    if collection_path.suffix != ".py" or not collection_path.name.startswith("test_"):
        return None
    if _is_marked_bpy(collection_path) == _bpy_wanted(config):
        return None
    config.stash[_LEFT_OUT].add(collection_path)
    return True


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Name what did not run here, and how it runs."""
    count = len(config.stash[_LEFT_OUT])
    if count and not _bpy_wanted(config):
        terminalreporter.write_line(
            f"{count} modules need bpy in their process: run them with -m bpy."
        )


def pytest_sessionstart(session: pytest.Session) -> None:
    """Keep the session: its exit status is final only at the very end."""
    session.config.stash[_SESSION] = session


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the session's folders; leave at once if Blender is in this process.

    The wheels of some Blender versions crash or hang for ever while the interpreter shuts down,
    after all results are in. Summary and exit status are out and known by now.
    """
    shutil.rmtree(config.stash[_FOLDERS], ignore_errors=True)
    session = config.stash.get(_SESSION, None)
    if session is None or "bpy" not in sys.modules:
        return
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter.flush()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(int(session.exitstatus))


def _bpy_wanted(config: pytest.Config) -> bool:
    return re.match(r"\s*bpy\b", config.option.markexpr) is not None


@cache
def _is_marked_bpy(path: Path) -> bool:
    """Whether the module says ``pytestmark = pytest.mark.bpy`` (alone or in a list)."""
    for statement in ast.parse(path.read_bytes()).body:
        if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            if any(
                isinstance(target, ast.Name) and target.id == "pytestmark" for target in targets
            ):
                return any(
                    isinstance(node, ast.Attribute) and node.attr == "bpy"
                    for node in ast.walk(statement.value)
                )
    return False


@pytest.fixture(scope="session")
def rendermill_home() -> Path:
    """The RENDERMILL_HOME of this test session."""
    return Path(os.environ["RENDERMILL_HOME"])


@pytest.fixture(scope="session")
def known_blenders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Answers of this machine's Blenders, asked once for all farms of the session.

    A node that begins with a copy of them is ready at once, and renders without a probe beside it.
    Engines that need OpenGL are left out, as software takes a minute to compile their shaders:
    for farms that render with Cycles.
    """
    from rendermill.node.blender import probe
    from rendermill.node.equipment import equip

    folder = tmp_path_factory.mktemp("known")
    answers = folder / "blenders.json"
    equipment = asyncio.run(equip((), folder / "scratch", answers, lambda _: None))
    for candidate, info in zip(equipment.candidates, equipment.blenders, strict=True):
        probe._remember(answers, probe._key(candidate, equipment.sandbox), info)
    return answers
