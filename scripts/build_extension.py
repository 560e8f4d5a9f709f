"""The Blender extension: one zip per platform, with every wheel that Blender does not bring.

``python3 scripts/build_extension.py`` writes ``dist/rendermill-VERSION-PLATFORM.zip`` for every
platform; ``--platform`` and ``--python`` (again for more) choose. The package is copied from this
folder, wheels are fetched with the hashes of ``requirements/runtime.txt``, and Blender's own
builder makes and validates the zip.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import environment
from environment import DEV, ROOT, SetupError, say

DIST = ROOT / "dist"

BROUGHT_BY_BLENDER = frozenset({"idna", "numpy"})
"""Packages of the lock file left out because every Blender has them.

Blender brings numpy, and requests with certifi, charset-normalizer, idna and urllib3. A second copy
would be read after a restart, and Blender's until then; one is better than two. Official builds
bring zstandard too, but those of Debian do not, so it travels.
"""

EXTRA_FILES = ("LICENSE", "CHANGELOG.md", "README.md")

BUILDER = "bpy/*/scripts/addons_core/bl_pkg/cli/blender_ext.py"


@dataclass(frozen=True)
class Platform:
    """A platform as Blender's manifest names it, and what pip calls it."""

    name: str
    tags: tuple[str, ...]
    """Platform tags of wheels that run there, newest first."""
    system: str
    machine: str
    pythons: tuple[str, ...] = ("3.11", "3.13")
    """Blender 4.2 to 5.0 and from 5.1."""


PLATFORMS = (
    Platform(
        "linux-x64",
        # Blender asks for glibc 2.28.
        (*(f"manylinux_2_{n}_x86_64" for n in range(28, 4, -1)), "manylinux2014_x86_64"),
        "linux",
        "x86_64",
    ),
    Platform("windows-x64", ("win_amd64",), "win32", "AMD64"),
    Platform("windows-arm64", ("win_arm64",), "win32", "ARM64"),
    Platform(
        "macos-arm64",
        tuple(f"macosx_{n}_0_{arch}" for n in (13, 12, 11) for arch in ("arm64", "universal2"))
        + tuple(f"macosx_10_{n}_universal2" for n in range(16, 8, -1)),
        "darwin",
        "arm64",
    ),
    Platform(
        "macos-x64",
        tuple(f"macosx_{n}_0_{arch}" for n in (12, 11) for arch in ("x86_64", "universal2"))
        + tuple(f"macosx_10_{n}_{a}" for n in range(16, 8, -1) for a in ("x86_64", "universal2")),
        "darwin",
        "x86_64",
        # Blender 5 has no build for Intel Macs.
        ("3.11",),
    ),
)


class BuildFailed(Exception):
    """A zip that cannot be made; the message says why."""


def main() -> int:
    """Run the command line and return its exit code."""
    environment.require_python_3_11()
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    names = [platform.name for platform in PLATFORMS]
    parser.add_argument("--platform", action="append", choices=names, help="default: all")
    parser.add_argument(
        "--python", action="append", metavar="X.Y", help="wheels for this Python and no other"
    )
    parser.add_argument("--output", type=Path, default=DIST, metavar="DIR", help="default: dist")
    options = parser.parse_args()
    try:
        python = environment.ensure(DEV)
        if Path(sys.prefix) != DEV.folder:
            # From here on it needs `packaging`, which that environment has.
            os.execv(python, [str(python), *sys.argv])
        for platform in PLATFORMS:
            if not options.platform or platform.name in options.platform:
                pythons = tuple(options.python or platform.pythons)
                path = build(platform, pythons, options.output.absolute())
                say(f"{path}  {path.stat().st_size / 1e6:.1f} MB, Python {', '.join(pythons)}")
    except (BuildFailed, SetupError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def build(platform: Platform, pythons: Sequence[str], output: Path) -> Path:
    """Make and validate the zip for one platform; return its path. Raises `BuildFailed`."""
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="rendermill-extension-") as folder:
        stage = Path(folder) / "rendermill"
        stage_package(stage)
        for python in pythons:
            fetch_wheels(platform, python, stage / "wheels", Path(folder))
        version = complete_manifest(stage, platform)
        target = output / f"rendermill-{version}-{platform.name}.zip"
        target.unlink(missing_ok=True)
        _blender_builder("build", "--source-dir", stage, "--output-filepath", target)
        _blender_builder("validate", target)
    return target


def stage_package(stage: Path) -> None:
    """Copy what belongs into the extension: the packages of pyproject.toml with their data."""
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    patterns = ["*.py", *setuptools["package-data"]["*"]]
    for package in setuptools["packages"]:
        source = ROOT.joinpath(*package.split(".")[1:])
        # The package itself is this folder, with much else in it: its own modules only.
        chosen = patterns if source != ROOT else ["*.py"]
        for pattern in chosen:
            for path in sorted(source.glob(pattern)):
                if path.is_file() and "__pycache__" not in path.parts:
                    target = stage / path.relative_to(ROOT)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, target)
    for name in ("blender_manifest.toml", *EXTRA_FILES):
        shutil.copyfile(ROOT / name, stage / name)


def fetch_wheels(platform: Platform, python: str, wheels: Path, scratch: Path) -> None:
    """Fetch the wheels of the runtime lock for one platform and Python. Raises `BuildFailed`."""
    lock = scratch / f"{platform.name}-{python}.txt"
    lock.write_text(locked_for(platform, python), encoding="utf-8")
    abi = "cp" + python.replace(".", "")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
    command += ["--only-binary=:all:", "--require-hashes", "--no-deps", "--dest", str(wheels)]
    command += ["--implementation", "cp", "--python-version", python]
    # A server that stumbles is asked again.
    command += ["--retries", "10", "--timeout", "60"]
    for tag in (abi, "abi3", "none"):
        command += ["--abi", tag]
    for tag in platform.tags:
        command += ["--platform", tag]
    if subprocess.run([*command, "-r", str(lock)], check=False).returncode != 0:
        raise BuildFailed(
            f"Some wheel for {platform.name} and Python {python} is missing, see above. Hold the "
            "package back in requirements/constraints.in, or leave that platform out."
        )


def locked_for(platform: Platform, python: str) -> str:
    """The part of the runtime lock file that one platform needs, without what Blender brings.

    pip reads markers for the machine it runs on, so they are settled here for the target.
    """
    from packaging.markers import Marker

    target = {
        "implementation_name": "cpython",
        "os_name": "nt" if platform.system == "win32" else "posix",
        "platform_machine": platform.machine,
        "platform_python_implementation": "CPython",
        "platform_system": {"linux": "Linux", "win32": "Windows", "darwin": "Darwin"}[
            platform.system
        ],
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": platform.system,
    }
    lines: list[str] = []
    keep = False
    for line in (ROOT / "requirements" / "runtime.txt").read_text("utf-8").splitlines():
        pin = re.match(r"([\w.-]+)==([^\s;]+)(?:\s*;\s*(.*?))?\s*\\$", line)
        if pin:
            name, version, marker = pin.groups()
            keep = name not in BROUGHT_BY_BLENDER
            keep = keep and (marker is None or Marker(marker).evaluate(target))
            line = f"{name}=={version} \\"  # noqa: PLW2901 - without its marker
        if keep:
            lines.append(line)
    return "\n".join(lines) + "\n"


def complete_manifest(stage: Path, platform: Platform) -> str:
    """Name platform and wheels in the staged manifest; return the version. Raises `BuildFailed`."""
    path = stage / "blender_manifest.toml"
    head, table, tail = path.read_text(encoding="utf-8").partition("[permissions]")
    wheels = sorted(wheel.name for wheel in (stage / "wheels").glob("*.whl"))
    listed = "".join(f'    "./wheels/{name}",\n' for name in wheels)
    head += f'platforms = ["{platform.name}"]\nwheels = [\n{listed}]\n\n'
    path.write_text(head + table + tail, encoding="utf-8")
    version = tomllib.loads(path.read_text(encoding="utf-8"))["version"]
    code = (stage / "__init__.py").read_text(encoding="utf-8")
    if f'__version__ = "{version}"' not in code:
        raise BuildFailed(
            f"blender_manifest.toml says version {version}, __init__.py another: make them one."
        )
    return version


def _blender_builder(*arguments: str | Path) -> None:
    """Run the program by which Blender itself builds and validates extensions."""
    library = DEV.interpreter.parent.parent
    programs = sorted(library.rglob(BUILDER))
    if not programs:
        raise BuildFailed(f"There is no blender_ext.py below {library}: is bpy installed there?")
    command = [str(DEV.interpreter), str(programs[0]), *map(str, arguments)]
    answer = subprocess.run(command, check=False, capture_output=True, text=True)
    # It prints what is wrong to either stream, some of it with exit code 0.
    said = answer.stdout + answer.stderr
    if answer.returncode != 0 or "error" in said.lower():
        raise BuildFailed(f"Blender's builder refuses: {said.strip()}")


if __name__ == "__main__":
    raise SystemExit(main())
