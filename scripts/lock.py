"""Write the lock files: every environment's packages with versions and hashes.

``python scripts/lock.py`` keeps the versions that still fit; ``--upgrade`` takes the newest.
``--check`` writes nothing and says which files are out of step with what is asked for.

A lock file holds for every platform (markers tell them apart), lists the hashes of every file of a
release and names no index and no address: it installs from whatever index the machine has, with
``pip install --require-hashes -r FILE``.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ROOT / "requirements"
_COMMAND = "python scripts/lock.py"


@dataclass(frozen=True)
class Lock:
    """One environment: its file is ``requirements/<name>.txt``."""

    name: str
    python: str
    purpose: str


RUNTIME = Lock("runtime", "3.11", "Rendermill itself, on every platform and Python")
LOCKS = (
    RUNTIME,
    Lock("dev", "3.11", "checks and tests, with Blender 4.5 as a module"),
    Lock("bpy-4.2", "3.11", "tests inside Blender 4.2"),
    Lock("bpy-5.0", "3.11", "tests inside Blender 5.0"),
    Lock("bpy-5.2", "3.13", "tests inside Blender 5.2"),
    Lock("demo-3.11", "3.11", "the demo with Blender 4.5"),
    Lock("demo-3.13", "3.13", "the demo with Blender 5.2"),
)

BLENDERS_OWN = frozenset({"numpy"})
"""Packages of ours whose version the Blender of an environment decides, as it does for artists."""

_GOES_ON = " \\"
_ADDRESS = re.compile(r"(?i)\b[a-z][a-z0-9+.-]*://|^\s*(-i|--index|--extra|--find|-f|--trusted)\b")
_PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)==(\S+)(?:\s*;.*)?\s*\\$")
_HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$")


def main() -> int:
    """Run the command line; 0 when every file is in step."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions")
    parser.add_argument("--check", action="store_true", help="write nothing, only compare")
    options = parser.parse_args()
    stale = [lock.name for lock in LOCKS if not _refresh(lock, options.upgrade, options.check)]
    if stale and options.check:
        print(f"Out of step: {', '.join(stale)}. Run: {_COMMAND}", file=sys.stderr)
        return 1
    return 0


def _refresh(lock: Lock, upgrade: bool, check: bool) -> bool:
    """Compile one lock file; return whether it was in step before."""
    target = REQUIREMENTS / f"{lock.name}.txt"
    before = target.read_text(encoding="utf-8") if target.exists() else ""
    # uv starts from the versions in the output file, hence a copy when nothing may be written.
    output = target.with_suffix(".new") if check else target
    if check and before:
        output.write_text(before, encoding="utf-8")
    try:
        with tempfile.TemporaryDirectory(prefix="rendermill-lock-") as folder:
            pins = Path(folder, "pins.in")
            pins.write_text("" if lock is RUNTIME else _pins_of_runtime(), encoding="utf-8")
            subprocess.run(_compile_command(lock, output, upgrade, pins), cwd=ROOT, check=True)
        after = output.read_text(encoding="utf-8")
    finally:
        if check:
            output.unlink(missing_ok=True)
    problems = problems_in(after, target.name)
    if problems:
        raise SystemExit("\n".join(problems))
    print(f"{target.name}: {after.count('==')} packages ({lock.purpose})")
    return before == after


def _pins_of_runtime() -> str:
    """One version of each of our own dependencies, whatever else an environment holds."""
    lines = (REQUIREMENTS / f"{RUNTIME.name}.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if (found := _PIN.match(line)) and found[1] not in BLENDERS_OWN]
    return "".join(f"{line.removesuffix(_GOES_ON)}\n" for line in pins)


def _compile_command(lock: Lock, output: Path, upgrade: bool, pins: Path) -> list[str]:
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    command = [uv, "pip", "compile", "--quiet", "--universal", "--python-version", lock.python]
    command += ["--generate-hashes", "--no-emit-index-url", "--no-emit-find-links"]
    command += ["--no-annotate", "--custom-compile-command", _COMMAND]
    command += ["--constraints", "requirements/constraints.in"]
    command += ["--constraints", str(pins)]
    if lock is not RUNTIME:
        command.append(f"requirements/{lock.name}.in")
    if upgrade:
        command.append("--upgrade")
    return [*command, "pyproject.toml", "--output-file", str(output)]


def problems_in(text: str, name: str) -> list[str]:
    """Return what is wrong with a lock file, one sentence each: addresses, missing hashes."""
    problems: list[str] = []
    pinned = ""
    hashes = 0
    for number, line in enumerate([*text.splitlines(), ""], start=1):
        if _ADDRESS.search(line):
            problems.append(f"{name}:{number} names an index or an address.")
        if _HASH.match(line):
            hashes += 1
            continue
        if pinned and not hashes:
            problems.append(f"{name}: {pinned} has no hash.")
        pinned, hashes = "", 0
        pin = _PIN.match(line)
        if pin:
            pinned = pin[1]
        elif line.strip() and not line.startswith("#"):
            problems.append(f"{name}:{number} is neither a pinned package nor a hash.")
    return problems


if __name__ == "__main__":
    raise SystemExit(main())
