"""The rules of lock files, and that the ones in the repository keep them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
HASH = "    --hash=sha256:" + "0" * 64


@pytest.fixture(scope="module")
def lock() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("lock", ROOT / "scripts" / "lock.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # dataclasses look their module up by name.
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "lock", module)
        spec.loader.exec_module(module)
    return module


def test_every_lock_file_is_complete_and_names_no_index(lock: ModuleType) -> None:
    for one in lock.LOCKS:
        path = lock.REQUIREMENTS / f"{one.name}.txt"
        assert lock.problems_in(path.read_text(encoding="utf-8"), path.name) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"--index-url https://example.org/simple\na==1 \\\n{HASH}\n", "x:1 names an index"),
        (f"a @ https://example.org/a.whl \\\n{HASH}\n", "x:1 names an index"),
        ("a==1 \\\nb==1 \\\n" + HASH + "\n", "x: a has no hash"),
        ("a==1 \\\n", "x: a has no hash"),
        (f"a>=1 \\\n{HASH}\n", "x:1 is neither"),
    ],
)
def test_what_breaks_the_rules_is_noticed(lock: ModuleType, text: str, problem: str) -> None:
    assert any(found.startswith(problem) for found in lock.problems_in(text, "x"))


def test_a_complete_file_has_no_problems(lock: ModuleType) -> None:
    text = f"# made\na==1 ; sys_platform == 'win32' \\\n{HASH} \\\n{HASH}\nb==2 \\\n{HASH}\n"
    assert lock.problems_in(text, "x") == []
