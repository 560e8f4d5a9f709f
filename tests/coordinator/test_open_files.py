"""The limit of open files is raised where the system allows it, and told where it does not."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows does not count sockets")

ASK = """
import json, resource, sys
soft, hard = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
from rendermill.coordinator.open_files import raise_open_files
told = raise_open_files()
print(json.dumps([told, resource.getrlimit(resource.RLIMIT_NOFILE)[0]]))
"""


def ask(soft: int, hard: int) -> tuple[str, int]:
    """In a process of its own: a hard limit that was lowered stays low."""
    ran = subprocess.run(
        [sys.executable, "-c", ASK, str(soft), str(hard)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    told, now = json.loads(ran.stdout)
    return told, now


def test_a_low_soft_limit_is_raised():
    assert ask(256, 8192) == ("", 8192)


def test_a_low_hard_limit_is_told():
    told, now = ask(256, 1024)
    assert now == 1024
    assert "about 768 nodes" in told
    assert "ulimit -Hn" in told
