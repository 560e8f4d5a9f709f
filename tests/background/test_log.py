"""A log that never grows beyond its bound."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from rendermill.background.log import BoundedLog


def test_it_keeps_the_newest_lines_in_two_files_of_bounded_size(tmp_path: Path) -> None:
    path = tmp_path / "node.log"
    log = BoundedLog(path, max_bytes=1000)
    for number in range(1000):
        print(f"line {number}", file=log)
    log.close()
    old, new = (tmp_path / "node.log.1").read_text(), path.read_text()
    assert len(old) <= 1000
    assert len(new) <= 1000
    kept = [line for line in (old + new).splitlines() if line]
    assert kept == [f"line {number}" for number in range(1000 - len(kept), 1000)]
    assert sorted(found.name for found in tmp_path.iterdir()) == ["node.log", "node.log.1"]


def test_it_goes_on_where_an_earlier_process_stopped(tmp_path: Path) -> None:
    path = tmp_path / "node.log"
    for text in ("one\n", "two\n"):
        log = BoundedLog(path, max_bytes=1000)
        log.write(text)
        log.close()
    assert path.read_text() == "one\ntwo\n"


def test_what_lies_below_python_writes_there_too(tmp_path: Path) -> None:
    path = tmp_path / "node.log"
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from rendermill.background.log import write_everything_to\n"
        "write_everything_to(Path(sys.argv[1]))\n"
        "print('printed')\n"
        "os.write(1, b'below\\n')\n"
        "raise SystemExit('the end')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")
    assert path.read_text() == "printed\nbelow\nthe end\n"


def test_a_log_that_cannot_be_written_ends_nothing(tmp_path: Path) -> None:
    log = BoundedLog(tmp_path / "node.log")
    handle = log._handle
    os.close(handle)
    log._handle = os.open(os.devnull, os.O_RDONLY)
    assert log.write("lost\n") == 5
    log.close()
