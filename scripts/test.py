"""Every check of Rendermill, on a machine with nothing but Python 3.11 and git.

``python3 scripts/test.py`` makes the environments it needs, then runs the linter, the type
checker, the lock files' rules and all tests: without Blender in the process, then inside Blender
4.2, 4.5, 5.0 and 5.2. Tests of whole farms, which mostly wait for processes, and of Blender's
windows run aside meanwhile; what they print comes at the end. It ends with one line of totals; the
exit code is 0 only if nothing failed.

Blender 5.2 needs Python 3.13: where neither the path nor pyenv nor uv has one, its tests are
skipped, and the output says so.

``--fast`` leaves out the tests inside Blender; ``--stage NAME`` (again for more) runs only those;
``-k EXPRESSION`` goes to pytest.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import environment
from environment import BPY_42, BPY_50, BPY_52, DEV, ROOT, Environment, NoPython, SetupError, say

STAGE_SECONDS_MAX = 38 * 60
"""A stage that takes longer hangs; it is ended with every process it started."""

FAILURE_LINES_MAX = 40
"""Of each failed test, so many last lines of its report stand again beside its name at the end."""

NO_TESTS_SELECTED = 5
"""pytest's exit code when ``-k`` fits no test of a stage."""

_TOTALS = re.compile(r"(\d+) passed, (\d+) failed(?:, (\d+) skipped)?")
_REGISTRY = re.compile(r"(?i)\b(" + "pypi" + r"\.(org|python\.org)|files\.python" + r"hosted)\b")


@dataclass
class Totals:
    """What the checks have come to so far."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    broken: list[str] = field(default_factory=list)
    """Stages that failed, with the reason."""

    def line(self) -> str:
        """The closing line."""
        text = f"{self.passed} passed, {self.failed} failed"
        return f"{text}, {self.skipped} skipped" if self.skipped else text


@dataclass(frozen=True)
class Stage:
    """One check with a name; ``run`` adds to the totals."""

    name: str
    purpose: str
    environment: Environment | None
    run: Callable[[Totals, argparse.Namespace], None]
    inside_blender: bool = False
    aside: bool = False
    """Runs beside the other stages, where there are others."""
    optional: bool = False
    """Skipped where the Python of its environment is not to be had, which else ends the run."""


def main() -> int:
    """Run the command line and return its exit code."""
    environment.require_python_3_11()
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n", maxsplit=1)[0],
        epilog="Stages: " + "; ".join(f"{stage.name} ({stage.purpose})" for stage in STAGES),
    )
    names = [stage.name for stage in STAGES]
    parser.add_argument("--stage", action="append", choices=names, metavar="NAME")
    parser.add_argument("--fast", action="store_true", help="leave out tests inside Blender")
    parser.add_argument("-k", dest="expression", default="", help="only tests that fit (pytest)")
    options = parser.parse_args()

    begin = time.monotonic()
    totals = Totals()
    chosen = [
        stage
        for stage in STAGES
        if (not options.stage or stage.name in options.stage)
        and not (options.fast and stage.inside_blender)
    ]
    try:
        skipped = _prepare(chosen)
    except SetupError as error:
        print(f"Cannot set up the tests. {error}", file=sys.stderr)
        return 1
    totals.skipped += len(skipped)
    chosen = [stage for stage in chosen if stage not in skipped]
    aside = [stage for stage in chosen if stage.aside and len(chosen) > 1]
    with contextlib.ExitStack() as stack:
        besides = [stack.enter_context(_Aside(stage, options)) for stage in aside]
        for stage in chosen:
            if stage not in aside:
                _run_stage(stage, totals, options)
        for beside in besides:
            beside.finish(totals)
    say(f"\nAll stages took {_minutes(time.monotonic() - begin)}.")
    for stage, reason in skipped.items():
        say(f"SKIPPED {stage.name}, {stage.purpose}: {reason}")
    for reason in totals.broken:
        say(f"FAILED {reason}")
    say(totals.line())
    return 1 if totals.failed else 0


def _prepare(stages: Sequence[Stage]) -> dict[Stage, str]:
    """Make the environments the stages run in, and what Blender and the tests need around them.

    Returns the stages that must be skipped, each with the reason.
    """
    names = ("tests", "farms", "windows")
    if any(stage.name in names or stage.inside_blender for stage in stages):
        environment.ensure_system(
            {**environment.LIBRARIES, **environment.OPENGL},
            {**environment.PROGRAMS, **environment.TEST_PROGRAMS},
        )
    environment.ensure(DEV)
    skipped: dict[Stage, str] = {}
    for stage in stages:
        if stage.environment is None:
            continue
        try:
            environment.ensure(stage.environment)
        except NoPython as error:
            if not stage.optional:
                raise
            skipped[stage] = str(error)
            say(f"\n*** {stage.name.upper()} IS SKIPPED: {error}\n")
    # Tests say `rendermill`, which the type checker must find in this folder.
    link = environment.ENVIRONMENTS / "types" / "rendermill"
    link.parent.mkdir(exist_ok=True)
    if not link.exists():
        link.unlink(missing_ok=True)
        link.symlink_to(ROOT, target_is_directory=True)
    return skipped


def _run_stage(stage: Stage, totals: Totals, options: argparse.Namespace) -> None:
    say(f"\n=== {stage.name}: {stage.purpose}")
    begin = time.monotonic()
    failed_before = totals.failed
    stage.run(totals, options)
    verdict = "ok" if totals.failed == failed_before else "FAILED"
    say(f"=== {stage.name}: {verdict} ({_minutes(time.monotonic() - begin)})")


class _Aside:
    """A stage in a process of its own, this very script, that prints into a file."""

    def __init__(self, stage: Stage, options: argparse.Namespace) -> None:
        self._stage = stage
        command = [sys.executable, __file__, "--stage", stage.name]
        if options.expression:
            command += ["-k", options.expression]
        self._command = command

    def __enter__(self) -> _Aside:
        self._output = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        say(f"\n=== {self._stage.name}: begun aside")
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, stdout=self._output, stderr=subprocess.STDOUT
        )
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            # It ends what it started when it is interrupted.
            self._process.send_signal(signal.SIGINT)
            self._process.wait()
        self._output.close()

    def finish(self, totals: Totals) -> None:
        """Wait for it, show what it printed, and add its totals."""
        code = self._process.wait()
        self._output.seek(0)
        told = self._output.read()
        say(told.rstrip())
        lines = told.rstrip().splitlines()
        counted = _TOTALS.fullmatch(lines[-1]) if lines else None
        if counted is None:
            _count_check(totals, self._stage.name, f"ended with exit code {code}")
            return
        passed, failed, skipped = (int(number or 0) for number in counted.groups())
        totals.passed += passed
        totals.failed += failed
        totals.skipped += skipped
        broken = told.rpartition("All stages took")[2].splitlines()[1:-1]
        if broken:
            totals.broken.append("\n".join(broken).removeprefix("FAILED "))


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 60 else f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


# --- the stages ----------------------------------------------------------------------------------


def _tool(*command: str) -> Callable[[Totals, argparse.Namespace], None]:
    """A stage that is one program of the development environment, right when it exits with 0."""

    def run(totals: Totals, _options: argparse.Namespace) -> None:
        code = _call([str(DEV.interpreter.with_name(command[0])), *command[1:]])
        _count_check(totals, " ".join(command), "" if code == 0 else f"exit code {code}")

    return run


def _count_check(totals: Totals, name: str, problem: str) -> None:
    if problem:
        totals.failed += 1
        totals.broken.append(f"{name}: {problem}")
    else:
        totals.passed += 1


def _locks(totals: Totals, _options: argparse.Namespace) -> None:
    """Lock files pin everything with hashes; no file of the repository names a package index."""
    import lock

    for one in lock.LOCKS:
        path = lock.REQUIREMENTS / f"{one.name}.txt"
        problems = lock.problems_in(path.read_text(encoding="utf-8"), path.name)
        for problem in problems:
            say(problem)
        _count_check(totals, path.name, problems[0] if problems else "")
    named = list(_lines_that_name_a_registry())
    for place in named:
        say(f"{place} names a package index; leave the choice of one to the machine.")
    _count_check(totals, "no package index named", named[0] if named else "")


def _lines_that_name_a_registry() -> list[str]:
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    places: list[str] = []
    for name in filter(None, listing.stdout.split("\0")):
        path = ROOT / name
        if not path.is_file():
            continue
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        places += [
            f"{name}:{number}" for number, line in enumerate(lines, 1) if _REGISTRY.search(line)
        ]
    return places


def _pytest(where: Environment, *more: str) -> Callable[[Totals, argparse.Namespace], None]:
    """A stage that is a pytest process in one environment."""

    def run(totals: Totals, options: argparse.Namespace) -> None:
        with tempfile.TemporaryDirectory(prefix="rendermill-") as folder:
            report = Path(folder) / "report.xml"
            command = [str(where.interpreter), "-X", "faulthandler", "-m", "pytest", *more]
            command += ["--durations=10", "--durations-min=2", f"--junitxml={report}"]
            # Of its own: another pytest beside this one tidies up the folder that they share.
            command += [f"--basetemp={folder}/tests"]
            if options.expression:
                command += ["-k", options.expression]
            code = _call(command)
            if not report.is_file():
                # Blender took the process with it, or pytest could not start: never a pass.
                _count_check(totals, f"pytest in {where.name}", f"ended with exit code {code}")
                return
            _count_tests(totals, report)
            if code == NO_TESTS_SELECTED and options.expression:
                return
            if code not in (0, 1):
                _count_check(totals, f"pytest in {where.name}", f"ended with exit code {code}")

    return run


def _walk(totals: Totals, options: argparse.Namespace) -> None:
    """Get a Blender with windows, and go through its interface. Without one the test is skipped."""
    import real_blender

    try:
        real_blender.ensure()
    except SetupError as error:
        # A mirror that does not answer says nothing about Rendermill.
        say(f"\n*** THE WINDOW WALK IS SKIPPED: {error}\n")
    _pytest(DEV, *WINDOWS)(totals, options)


def _count_tests(totals: Totals, report: Path) -> None:
    # Written by our own pytest a moment ago.
    for suite in ElementTree.parse(report).iter("testsuite"):
        count = {
            key: int(suite.get(key, "0")) for key in ("tests", "failures", "errors", "skipped")
        }
        failed = count["failures"] + count["errors"]
        totals.failed += failed
        totals.skipped += count["skipped"]
        totals.passed += count["tests"] - failed - count["skipped"]
        for case in suite.iter("testcase"):
            problems = [*case.findall("failure"), *case.findall("error")]
            if problems:
                # A log that is cut must still tell why: the report of the run may be far above.
                told = "\n".join(problem.text or problem.get("message", "") for problem in problems)
                lines = told.splitlines()[-FAILURE_LINES_MAX:]
                name = f"{case.get('classname')}::{case.get('name')}"
                totals.broken.append("\n    ".join([name, *lines]))


def _call(command: Sequence[str]) -> int:
    """Run a program in the repository with its output shown; end all it started when too long."""
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    try:
        return process.wait(STAGE_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        say(f"Took longer than {_minutes(STAGE_SECONDS_MAX)}: ended.")
        return -1
    finally:
        if process.poll() is None:
            _end_group(process)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    if sys.platform == "win32":
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


FARMS = ("tests/faults", "tests/integration", "tests/background")
WINDOWS = ("tests/addon/ui/test_window_walk.py",)

STAGES = (
    Stage("lint", "ruff check", DEV, _tool("ruff", "check", ".")),
    Stage("format", "ruff format", DEV, _tool("ruff", "format", "--check", ".")),
    Stage("types", "basedpyright", DEV, _tool("basedpyright")),
    Stage("locks", "lock files, and no package index named", None, _locks),
    Stage(
        "farms",
        "whole farms, hurt on purpose too",
        DEV,
        _pytest(DEV, *FARMS),
        aside=True,
    ),
    Stage("windows", "a walk through the interface of a Blender", DEV, _walk, aside=True),
    Stage(
        "tests",
        "everything else that starts Blender in processes of its own",
        DEV,
        _pytest(DEV, "tests", *(f"--ignore={path}" for path in (*FARMS, *WINDOWS))),
    ),
    Stage("bpy-4.2", "inside Blender 4.2", BPY_42, _pytest(BPY_42, "-m", "bpy"), True),
    Stage("bpy-4.5", "inside Blender 4.5", DEV, _pytest(DEV, "-m", "bpy"), True),
    Stage("bpy-5.0", "inside Blender 5.0", BPY_50, _pytest(BPY_50, "-m", "bpy"), True),
    Stage(
        "bpy-5.2",
        "inside Blender 5.2",
        BPY_52,
        _pytest(BPY_52, "-m", "bpy"),
        inside_blender=True,
        optional=True,
    ),
)


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except KeyboardInterrupt:
        raise SystemExit(130) from None
