"""A Blender with windows on a screen of its own, which nobody sees, run by a script inside it.

The tests of the interface and the pictures of the documentation start it here, with
`window_steps` inside. Needs Xvfb, and ImageMagick's ``import`` for pictures.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = {"Xvfb": "xvfb", "import": "imagemagick"}
"""What has to be on the path, and Debian's package of it."""

START_SECONDS_MAX = 120
WIDTH, HEIGHT = 1600, 900
"""Pixels of the screen, which the window fills."""


class WindowFailed(RuntimeError):
    """There is no screen, or Blender did not end by itself; the message says what it printed."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A Blender that has come to its end."""

    code: int
    """Its exit code."""
    said: str
    """All that it printed."""


def missing_program() -> str:
    """Return a sentence about the first program that is missing; '' when all are here."""
    for program, package in PROGRAMS.items():
        if shutil.which(program) is None:
            return f"{program} is missing; run: apt-get install -y {package}"
    return ""


@contextlib.contextmanager
def screen(width: int = WIDTH, height: int = HEIGHT) -> Iterator[str]:
    """A screen in memory; yields its name for DISPLAY. Raises `WindowFailed`."""
    reading, writing = os.pipe()
    try:
        server = subprocess.Popen(
            # It takes the first number that is free, and tells it when clients may come.
            [
                *("Xvfb", "-displayfd", str(writing), "-noreset", "-nolisten", "tcp"),
                *("-screen", "0", f"{width}x{height}x24"),
            ],
            pass_fds=[writing],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except OSError as error:
        os.close(reading)
        raise WindowFailed(f"Xvfb does not start: {error}") from error
    finally:
        os.close(writing)
    try:
        with os.fdopen(reading) as told:
            number = told.readline().strip()
        if not number:
            raise WindowFailed("Xvfb has ended without opening a screen.")
        yield f":{number}"
    finally:
        server.terminate()
        server.wait()


def run(
    blender: Path,
    script: Path,
    words: Sequence[str | Path],
    *,
    display: str,
    environment: Mapping[str, str],
    seconds_max: float,
    size: tuple[int, int] = (WIDTH, HEIGHT),
) -> Ended:
    """Run a script in a Blender that fills the screen; return when that has ended.

    Raises `WindowFailed` when that takes longer than ``seconds_max``: whatever it started in its
    process group is gone then.
    """
    variables = {k: v for k, v in environment.items() if k != "WAYLAND_DISPLAY"}
    variables |= {"DISPLAY": display, "LC_ALL": "C.UTF-8"}
    command = [str(blender), "--enable-event-simulate"]
    command += ["--window-geometry", "0", "0", str(size[0]), str(size[1])]
    command += ["-P", str(script), "--", *map(str, words)]
    process = subprocess.Popen(
        command,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    with process:
        try:
            said, _ = process.communicate(timeout=seconds_max)
        except subprocess.TimeoutExpired:
            said = _kill(process)
            raise WindowFailed(f"Blender did not end within {seconds_max:.0f} s:\n{said}") from None
        except BaseException:
            _kill(process)
            raise
    return Ended(process.returncode, said)


def _kill(process: subprocess.Popen[str]) -> str:
    if sys.platform == "win32":
        process.kill()
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    said, _ = process.communicate()
    return said
