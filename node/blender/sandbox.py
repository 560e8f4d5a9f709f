"""Confines a Blender as far as this machine can: bubblewrap, resource limits, or nothing.

Under bubblewrap a Blender sees the system's programs, itself and the scenes, all read-only, one
writable folder, and no network, no home, no other process. The level is found by trying, never by
the name of the system, and shown to people as it is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

BUBBLEWRAP, RLIMITS, NONE = "bubblewrap", "rlimits", "none"
LEVELS = (BUBBLEWRAP, RLIMITS, NONE)
"""From the strongest to the weakest."""

FILE_MAX_BYTES = 64 << 30
"""Largest file a Blender may write: a scene must not fill the disk with one file."""

TRIAL_SECONDS = 10.0
"""Longest time for trying whether bubblewrap works."""

_SYSTEM_FOLDERS = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/opt", "/nix/store")
_SYSTEM_SETTINGS = (
    "/etc/alternatives",
    "/etc/fonts",
    "/etc/glvnd",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/OpenCL",
    "/etc/vulkan",
)
_DEVICES = ("/dev/dri", "/dev/kfd")
"""Of AMD and Intel; those of NVIDIA are numbered, see `_gpu_devices`."""

_KEPT_VARIABLES = frozenset(
    {
        *("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
        *("DISPLAY", "XAUTHORITY", "WAYLAND_DISPLAY", "XDG_RUNTIME_DIR"),
        *("SYSTEMROOT", "WINDIR", "SYSTEMDRIVE", "COMSPEC", "PATHEXT", "PROGRAMDATA"),
        *("PROGRAMFILES", "NUMBER_OF_PROCESSORS", "PROCESSOR_ARCHITECTURE", "OS"),
    }
)
_KEPT_PREFIXES = (
    *("CUDA_", "NVIDIA_", "HIP_", "ROCR_", "ROCM_", "HSA_", "ONEAPI_", "SYCL_", "ZE_"),
    *("CYCLES_", "MESA_", "LIBGL_", "GALLIUM_", "LP_", "EGL_", "__EGL_", "__GLX_", "__NV_", "VK_"),
)
"""Settings of graphics drivers and of Cycles."""


@dataclass(frozen=True, slots=True)
class SandboxTrial:
    """What this machine can do to confine a Blender."""

    level: str
    reason: str = ""
    """Why it is not a stronger one, a sentence; '' for the strongest."""


def environment(scratch: Path) -> dict[str, str]:
    """Return all the environment variables a Blender gets; ``scratch`` becomes its home.

    Blender keeps its settings, and drivers their shader caches, below ``scratch``; the user's own
    never change a farm's picture. Nothing of Rendermill is passed on.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.upper() in _KEPT_VARIABLES or name.upper().startswith(_KEPT_PREFIXES)
    }
    home, temporary, user = scratch / "home", scratch / "tmp", scratch / "user"
    for folder in (home, temporary, user):
        folder.mkdir(parents=True, exist_ok=True)
    return kept | {
        "HOME": str(home),
        "USERPROFILE": str(home),
        "APPDATA": str(home),
        "LOCALAPPDATA": str(home),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "TMPDIR": str(temporary),
        "TEMP": str(temporary),
        "TMP": str(temporary),
        "BLENDER_USER_RESOURCES": str(user),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONUTF8": "1",
    }


def confine(
    level: str, command: list[str], *, program: Path, readable: tuple[Path, ...], writable: Path
) -> list[str]:
    """Return the command that runs ``command`` at ``level``; unchanged but for bubblewrap.

    ``program`` is the Blender or the Python with bpy, ``readable`` the folders of the scenes.
    """
    if level != BUBBLEWRAP:
        return command
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise FileNotFoundError("bubblewrap (bwrap) is not installed any more.")
    arguments = [bwrap, "--unshare-all", "--die-with-parent", "--new-session"]
    arguments += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]  # noqa: S108 - its own
    for path in (*_SYSTEM_FOLDERS, *_SYSTEM_SETTINGS):
        # On merged-usr systems /lib is a link to /usr/lib: the link itself is made again.
        if Path(path).is_symlink():
            arguments += ["--symlink", str(Path(path).readlink()), path]
        else:
            arguments += ["--ro-bind-try", path, path]
    devices = _gpu_devices()
    if devices:
        arguments += ["--ro-bind-try", "/sys", "/sys"]
    for device in devices:
        arguments += ["--dev-bind-try", device, device]
    for folder in _program_folders(program):
        arguments += ["--ro-bind-try", str(folder), str(folder)]
    for folder in readable:
        arguments += ["--ro-bind", str(folder), str(folder)]
    arguments += ["--bind", str(writable), str(writable), "--chdir", str(writable), "--"]
    return arguments + command


def limit(level: str, pid: int) -> None:
    """Set the resource limits of the level ``rlimits`` on a process that has just been started."""
    if level != RLIMITS or sys.platform != "linux":
        return
    import resource

    resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (FILE_MAX_BYTES, FILE_MAX_BYTES))


def try_levels(program: Path, scratch: Path) -> SandboxTrial:
    """Return the strongest level that really works here; takes up to `TRIAL_SECONDS`.

    Bubblewrap counts as working when inside it the system's ``sh`` runs, can write to ``scratch``
    and can neither see the home folder nor any network interface but the loopback.
    """
    if sys.platform != "linux":
        return SandboxTrial(NONE, f"There is no sandbox for Blender on {sys.platform} yet.")
    if shutil.which("bwrap") is None:
        return SandboxTrial(RLIMITS, "bubblewrap is not installed (package bubblewrap).")
    scratch.mkdir(parents=True, exist_ok=True)
    witness = scratch / "sandbox-trial"
    check = (
        'test "$(tail -n +3 /proc/net/dev | grep -cv "lo:")" = 0 '
        '&& ! test -e "$1" && ! touch /usr/rendermill-trial 2>/dev/null && : > "$2"'
    )
    home = str(Path.home() / ".")
    # A home that holds the program itself has to be seen; then there is nothing to look for.
    folders = _program_folders(program)
    hidden = "/root/.bashrc" if Path(home) == Path("/root") else home
    if any(folder.is_relative_to(home) for folder in folders) or witness.is_relative_to(home):
        hidden = "/nonexistent"
    command = confine(
        BUBBLEWRAP,
        ["/bin/sh", "-c", check, "sh", hidden, str(witness)],
        program=program,
        readable=(),
        writable=scratch,
    )
    try:
        done = subprocess.run(  # noqa: S603 - our own command
            command, capture_output=True, timeout=TRIAL_SECONDS, check=False, text=True
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return SandboxTrial(RLIMITS, f"bubblewrap does not work here: {error}.")
    if done.returncode != 0 or not witness.exists():
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return SandboxTrial(RLIMITS, f"bubblewrap does not work here: {said}.")
    witness.unlink()
    return SandboxTrial(BUBBLEWRAP)


def _program_folders(program: Path) -> list[Path]:
    """Folders a Blender or a Python environment needs, without those of the system."""
    resolved = program.resolve()
    folders = [program.parent, resolved.parent]
    # An environment: bin/python beside lib/, and the Python it was made from.
    for binary in (program, resolved):
        prefix = binary.parent.parent
        if (prefix / "pyvenv.cfg").exists() or (prefix / "lib").is_dir():
            folders.append(prefix)
    distinct: list[Path] = []
    for folder in folders:
        of_system = str(folder).startswith(_SYSTEM_FOLDERS) or folder in (Path("/"), Path.home())
        if folder not in distinct and not of_system:
            distinct.append(folder)
    return distinct


def _gpu_devices() -> list[str]:
    found = [str(path) for path in Path("/dev").glob("nvidia*")]
    return found + [device for device in _DEVICES if Path(device).exists()]
