"""Environments to run in: a virtual environment per lock file, and Blender's system libraries.

Needs only the standard library, because it runs before anything is installed. An environment is
made once and kept in ``.envs/NAME``; a stamp tells whether it still fits its lock file, so a second
run costs nothing.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENTS = ROOT / ".envs"

RETRIES, ANSWER_SECONDS = 10, 60
"""How often, and how patiently, a server with packages is asked that stumbles."""

_SCHEME = "1"
"""Raised when environments are made in another way, so that old ones are brought up to date."""


class SetupError(Exception):
    """This machine lacks something; the message says what, and how to get it."""


class NoPython(SetupError):
    """No Python of the version that an environment is made with is to be had here."""


@dataclass(frozen=True)
class Environment:
    """A folder of packages below ``.envs``."""

    name: str
    lock: str
    """Name of the lock file in ``requirements``, without ``.txt``."""
    python: tuple[int, int]
    """Version of Python that its bpy wheel is built for."""

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return ENVIRONMENTS / self.name

    @property
    def interpreter(self) -> Path:
        """Its Python, whether or not it exists yet."""
        if sys.platform == "win32":
            return self.folder / "Scripts" / "python.exe"
        return self.folder / "bin" / "python"


DEV = Environment("dev", "dev", (3, 11))
BPY_42 = Environment("bpy-4.2", "bpy-4.2", (3, 11))
BPY_50 = Environment("bpy-5.0", "bpy-5.0", (3, 11))
BPY_52 = Environment("bpy-5.2", "bpy-5.2", (3, 13))
DEMO_311 = Environment("demo", "demo-3.11", (3, 11))
DEMO_313 = Environment("demo-3.13", "demo-3.13", (3, 13))


def ensure(environment: Environment) -> Path:
    """Make an environment, or bring it up to date; return its Python. Raises `SetupError`.

    Every package comes with the hash in the lock file; Rendermill itself is this folder.
    """
    lock = ROOT / "requirements" / f"{environment.lock}.txt"
    stamp = environment.folder / "rendermill-stamp"
    wanted = _stamp(environment, lock)
    if stamp.is_file() and stamp.read_text(encoding="ascii") == wanted:
        return environment.interpreter
    say(f"Making the environment {environment.folder.relative_to(ROOT)} from {lock.name} ...")
    begin = time.monotonic()
    if not _is_usable(environment):
        python = find_python(environment.python)
        _ensure_venv_module(python)
        shutil.rmtree(environment.folder, ignore_errors=True)
        _run([python, "-m", "venv", environment.folder])
    stamp.unlink(missing_ok=True)
    pip = [environment.interpreter, "-m", "pip", "--disable-pip-version-check", "install"]
    pip += ["--retries", str(RETRIES), "--timeout", str(ANSWER_SECONDS)]
    # The lock is complete: --no-deps keeps pip from resolving it again, `check` proves it.
    _run([*pip, "--require-hashes", "--no-deps", "--progress-bar", "on", "-r", lock])
    _run([*pip, "--quiet", "--no-deps", "--no-build-isolation", "--editable", ROOT])
    _run([environment.interpreter, "-m", "pip", "--disable-pip-version-check", "check"])
    _repair_stubs(environment)
    stamp.write_text(wanted, encoding="ascii")
    say(f"Environment {environment.name} is ready ({time.monotonic() - begin:.0f} s).")
    return environment.interpreter


def _stamp(environment: Environment, lock: Path) -> str:
    if not lock.is_file():
        raise SetupError(f"{lock} is missing; this copy of Rendermill is not complete.")
    digest = hashlib.sha256(_SCHEME.encode())
    digest.update(repr(environment.python).encode())
    digest.update(str(ROOT).encode())
    digest.update(lock.read_bytes())
    # How the package is built; what follows configures tools and changes often.
    build, _, _ = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[tool.ruff]")
    digest.update(build.encode())
    return digest.hexdigest()


def _is_usable(environment: Environment) -> bool:
    return environment.interpreter.exists() and (
        _version_of(str(environment.interpreter)) == environment.python
    )


def find_python(version: tuple[int, int]) -> str:
    """Return the path of a Python of exactly this version. Raises `NoPython`.

    The one that runs this if it fits, else ``pythonX.Y`` on the path, else one that pyenv has, else
    one through ``uv``.
    """
    if sys.version_info[:2] == version:
        return sys.executable
    dotted = f"{version[0]}.{version[1]}"
    on_the_path = shutil.which(f"python{dotted}")
    for candidate in [*filter(None, [on_the_path]), *_pyenv_pythons(version)]:
        if _version_of(candidate) == version:
            return candidate
    found = _python_through_uv(version)
    if found is not None:
        return found
    running = f"{sys.version_info[0]}.{sys.version_info[1]}"
    raise NoPython(
        f"This needs Python {dotted}, and runs on Python {running}. "
        f"Install Python {dotted} so that `python{dotted}` is on the path, "
        f"or install uv (it will fetch that Python), and start again."
    )


def _pyenv_pythons(version: tuple[int, int]) -> list[str]:
    """Return the Pythons of a version that pyenv has, the newest first.

    Its shim on the path starts none of them until somebody has chosen a version.
    """
    root = Path(os.environ.get("PYENV_ROOT") or "~/.pyenv").expanduser()
    found: list[tuple[int, str]] = []
    for folder in (root / "versions").glob(f"{version[0]}.{version[1]}.*"):
        patch = folder.name.split(".")[2]
        if patch.isdigit():  # No 3.13.0rc1, and no build without the lock such as 3.13.0t.
            found.append((int(patch), str(folder / "bin" / f"python{version[0]}.{version[1]}")))
    return [python for _, python in sorted(found, reverse=True)]


def _python_through_uv(version: tuple[int, int]) -> str | None:
    """Return a Python that ``uv`` has or fetches; None without uv, or where it finds none."""
    uv = shutil.which("uv")
    if uv is None:
        return None
    dotted = f"{version[0]}.{version[1]}"
    say(f"Getting Python {dotted} through uv ...")
    subprocess.run([uv, "python", "install", dotted], check=False)
    answer = subprocess.run(
        [uv, "python", "find", dotted], check=False, capture_output=True, text=True
    )
    found = answer.stdout.strip()
    return found if found and _version_of(found) == version else None


def _version_of(python: str) -> tuple[int, int] | None:
    """Version of an interpreter; None when it does not start (a pyenv shim without a version)."""
    code = "import sys; print(*sys.version_info[:2])"
    try:
        answer = subprocess.run(
            [python, "-c", code], check=False, capture_output=True, text=True, timeout=60
        )
        major, minor = answer.stdout.split()
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return int(major), int(minor)


def _ensure_venv_module(python: str) -> None:
    """Debian splits ``venv`` from Python: install it where we may, else say how."""
    command = [python, "-c", "import venv, ensurepip"]
    if subprocess.run(command, check=False, capture_output=True).returncode == 0:
        return
    version = _version_of(python) or sys.version_info[:2]
    _install_packages([f"python{version[0]}.{version[1]}-venv"], "Python's venv module")
    if subprocess.run(command, check=False, capture_output=True).returncode != 0:
        raise SetupError(f"{python} still cannot make virtual environments: no ensurepip.")


def _repair_stubs(environment: Environment) -> None:
    """Give ``bpy.context`` its types back.

    In the stubs, ``Context`` has an attribute called ``property``, which hides the decorator of
    that name for the rest of the class: type checkers then take every ``bpy.context.x`` for a
    method. Where the stubs are not installed, or are right, nothing happens.
    """
    library = environment.interpreter.parent.parent / "lib"
    for path in library.glob("python*/site-packages/bpy-stubs/types/__init__.pyi"):
        text = path.read_text(encoding="utf-8")
        head, mark, body = text.partition("class Context(bpy_struct):")
        body = body.replace("\n    property: AnyType | None\n", "\n", 1)
        path.write_text(head + mark + body, encoding="utf-8")


# --- what Blender needs of the system ------------------------------------------------------------

LIBRARIES = {
    "libXrender.so.1": "libxrender1",
    "libXi.so.6": "libxi6",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libSM.so.6": "libsm6",
    "libGL.so.1": "libgl1",
    "libXxf86vm.so.1": "libxxf86vm1",
    "libgomp.so.1": "libgomp1",
}
"""Without these the bpy wheel does not load; the value is Debian's package."""

OPENGL = {"libEGL.so.1": "libegl1", "libEGL_mesa.so.0": "libgl1-mesa-dri libegl-mesa0"}
"""Without these EEVEE and Workbench have no OpenGL."""

PROGRAMS = {"git": "git"}
TEST_PROGRAMS = {
    "chromium": "chromium",
    "ip": "iproute2",
    "fiu-ctrl": "fiu-utils libfiu0",
    "faketime": "faketime libfaketime",
    "mkfs.ext4": "e2fsprogs",
    "losetup": "mount",
    "Xvfb": "xvfb",
    "xdotool": "xdotool",
    "import": "imagemagick",
}
"""A browser for the tests of the status page; `ip` makes hosts for those of the network; a display
and a hand at its mouse are the user of a workstation; `import` takes pictures of that display; the
others make disks that fail or fill up
and clocks that jump, for the tests of faults."""


def ensure_system(libraries: dict[str, str], programs: dict[str, str]) -> None:
    """Install missing libraries and programs where this user may; raises `SetupError` otherwise.

    Both map a name to Debian packages. Only Linux is looked at: the wheels for Windows and macOS
    carry everything.
    """
    if sys.platform != "linux":
        return
    missing = _missing(libraries, programs)
    if not missing:
        return
    _install_packages(missing, ", ".join(_absent(libraries, programs)))
    still = _absent(libraries, programs)
    if still:
        raise SetupError(f"After installing {' '.join(missing)} there is still no {still[0]}.")


def _absent(libraries: dict[str, str], programs: dict[str, str]) -> list[str]:
    return [name for name in libraries if not _loads(name)] + [
        name for name in programs if shutil.which(name, path=_search_path()) is None
    ]


def _search_path() -> str:
    # Where Debian keeps what only root has on the path.
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def _missing(libraries: dict[str, str], programs: dict[str, str]) -> list[str]:
    packages = {**libraries, **programs}
    return [part for name in _absent(libraries, programs) for part in packages[name].split()]


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _install_packages(packages: Sequence[str], purpose: str) -> None:
    command = f"apt-get install -y --no-install-recommends {' '.join(packages)}"
    apt = shutil.which("apt-get")
    if apt is None:
        raise SetupError(
            f"This machine lacks {purpose}. On Debian or Ubuntu: sudo {command}. "
            "On other systems install the packages that hold them."
        )
    if not _is_root():
        raise SetupError(f"This machine lacks {purpose}. Install it with: sudo {command}")
    say(f"Installing {' '.join(packages)} ...")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # A server that stumbles is asked again, and another apt of this machine is waited for.
    patient = [apt, "-qq", "-o", "Acquire::Retries=5", "-o", "DPkg::Lock::Timeout=300"]
    _run([*patient, "update"], quiet)
    _run([*patient, *command.split()[1:]], quiet)


def _is_root() -> bool:
    return sys.platform != "win32" and os.geteuid() == 0


def say(text: str) -> None:
    """Print one line of progress at once."""
    print(text, flush=True)


def _run(command: Sequence[str | Path], environment: dict[str, str] | None = None) -> None:
    words = [str(word) for word in command]
    if subprocess.run(words, check=False, env=environment).returncode != 0:
        raise SetupError(f"This command failed, see above: {' '.join(words)}")


def require_python_3_11() -> None:
    """Leave with one sentence on a Python that is too old to go on."""
    if sys.version_info < (3, 11):  # noqa: UP036 - the point of this function
        running = ".".join(str(part) for part in sys.version_info[:3])
        sys.exit(f"Rendermill needs Python 3.11 or newer; this is Python {running}.")
