"""A Blender with windows, for the tests and pictures of the interface: Debian's own build.

``python3 scripts/real_blender.py`` makes it once below ``.envs`` and prints the path of ``blender``
there. The `bpy` wheels have no windows; this one has, but lacks a denoiser, OSL, USD and
Alembic, and its Python is Debian's.

The packages come through this machine's own apt, from the mirror that its sources name, so
signatures and hashes are checked as for everything else that is installed here. Nothing is
installed, though: apt works on lists of its own with an empty list of installed packages, and what
it brings is unpacked into a folder, laid out like Blender's official archive. Neither root nor the
system's own release matters.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from environment import ENVIRONMENTS, SetupError, say

SUITE = "trixie"
"""Release of Debian whose Blender (4.3) and Python (3.13) these are."""

PACKAGES = (
    "blender",
    # In every Blender of its makers; Debian only recommends it.
    "python3-numpy",
    # OpenGL in software, and what Blender's own extension manager needs of Python.
    *("libgl1-mesa-dri", "libegl1", "libegl-mesa0", "python3-cattr", "python3-requests"),
    # Run from the same folder: makes Blender look there for its libraries.
    "patchelf",
)
LEFT_OUT = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info")
"""Folders of packages that nothing reads here."""

FETCH_SECONDS_MAX = 20 * 60
UNPACK_SECONDS_MAX = 10 * 60
RETRIES = "3"
SILENCE_SECONDS_MAX = "60"
"""apt gives a mirror so long to say something."""
FREE_BYTES_MIN = 2_500_000_000
"""About 0.3 GB is fetched and 1.1 GB unpacked."""

FOLDER = ENVIRONMENTS / f"blender-{SUITE}"
REASON = ENVIRONMENTS / f"blender-{SUITE}.missing"
"""Why the last attempt to get it failed, for tests that are skipped without it."""

FURTHER = "WINDOW_BLENDERS"
"""Variable with paths of more programs to try, separated as in PATH: another version."""

_SCHEME = "1"
"""Raised when the folder is made in another way, so that old ones are made anew."""


def main() -> int:
    """Run the command line and return its exit code."""
    try:
        print(ensure())
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def find() -> list[Path]:
    """Return the programs that are here now: the one made by `ensure`, and those of `FURTHER`."""
    further = filter(None, os.environ.get(FURTHER, "").split(os.pathsep))
    made = [FOLDER / "blender"] if _is_complete() else []
    return [path for path in (*made, *map(Path, further)) if path.is_file()]


def why_missing() -> str:
    """Return one sentence for a test that is skipped because `find` is empty."""
    try:
        reason = REASON.read_text(encoding="utf-8")
    except FileNotFoundError:
        return "There is no Blender with windows; run: python3 scripts/real_blender.py"
    return f"There is no Blender with windows: {reason}"


def ensure() -> Path:
    """Make the Blender unless it stands; return its program. Raises `SetupError`."""
    if _is_complete():
        return FOLDER / "blender"
    begin = time.monotonic()
    ENVIRONMENTS.mkdir(exist_ok=True)
    try:
        _make()
    except SetupError as error:
        REASON.write_text(str(error), encoding="utf-8")
        raise
    REASON.unlink(missing_ok=True)
    say(f"A Blender with windows is ready ({time.monotonic() - begin:.0f} s).")
    return FOLDER / "blender"


def _is_complete() -> bool:
    stamp = FOLDER / "rendermill-stamp"
    return stamp.is_file() and stamp.read_text(encoding="utf-8") == _stamp()


def _stamp() -> str:
    # With the place: libraries are found by absolute paths.
    return "\n".join([_SCHEME, SUITE, str(FOLDER), *PACKAGES])


def _make() -> None:
    mirror, keys = _debian()
    if shutil.disk_usage(ENVIRONMENTS).free < FREE_BYTES_MIN:
        raise SetupError(f"{ENVIRONMENTS} needs {FREE_BYTES_MIN / 1e9:.1f} GB of free space.")
    say(f"Getting a Blender with windows from {mirror} (about 300 MB) ...")
    shutil.rmtree(FOLDER, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="rendermill-apt-") as folder:
        packages = _fetch(Path(folder), mirror, keys)
        _unpack(packages, FOLDER / "tree")
    _lay_out(FOLDER)
    (FOLDER / "rendermill-stamp").write_text(_stamp(), encoding="utf-8")


# --- fetching --------------------------------------------------------------------------------


def _debian() -> tuple[str, str]:
    """Return the address of this machine's Debian mirror, and the keys it is signed with."""
    for program in ("apt-get", "dpkg-deb", "tar"):
        if sys.platform != "linux" or shutil.which(program) is None:
            raise SetupError(f"Debian's apt brings it, and this system has no {program}.")
    architecture = _output(["dpkg", "--print-architecture"])
    if architecture != "amd64":
        raise SetupError(f"It is fetched for amd64 only, and this machine is {architecture}.")
    form = "$(REPO_URI)\t$(RELEASE)\t$(COMPONENT)\t$(ORIGIN)"
    listed = _output(["apt-get", "indextargets", "--format", form, "Created-By: Packages"])
    for line in listed.splitlines():
        address, release, component, origin = (*line.split("\t"), "", "", "")[:4]
        # The origin is known once the lists have been fetched.
        is_debian = origin == "Debian" or (origin in ("", "$(ORIGIN)") and "debian" in address)
        if component == "main" and "-" not in release and is_debian:
            keys = "/usr/share/keyrings/debian-archive-keyring.gpg"
            if not Path(keys).is_file():
                raise SetupError(f"{keys} is missing; run: apt-get install debian-archive-keyring")
            return address, keys
    raise SetupError("The apt sources of this machine name no mirror of Debian.")


def _fetch(folder: Path, mirror: str, keys: str) -> list[Path]:
    """Download the packages with all that they need, checked by apt; return them."""
    for part in ("lists/partial", "cache/archives/partial", "preferences.d", "sources.d"):
        (folder / part).mkdir(parents=True)
    # As if nothing were installed: every package that they need comes along.
    (folder / "status").touch()
    (folder / "debian.sources").write_text(
        f"Types: deb\nURIs: {mirror}\nSuites: {SUITE}\nComponents: main\n"
        f"Architectures: amd64\nSigned-By: {keys}\n",
        encoding="ascii",
    )
    settings = {
        "Dir::State": folder,
        "Dir::State::lists": folder / "lists",
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder / "cache",
        "Dir::Etc::SourceList": folder / "debian.sources",
        "Dir::Etc::SourceParts": folder / "sources.d",
        "Dir::Etc::Preferences": folder / "preferences",
        "Dir::Etc::PreferencesParts": folder / "preferences.d",
        "APT::Architecture": "amd64",
        "APT::Architectures": "amd64",
        "APT::Install-Recommends": "false",
        "APT::Get::Download-Only": "true",
        # The folder is this user's alone.
        "APT::Sandbox::User": "",
        "APT::Update::Post-Invoke-Success": "",
        "APT::Update::Post-Invoke": "",
        "DPkg::Post-Invoke": "",
        # What it has downloaded is used, though nothing is installed.
        "APT::Keep-Downloaded-Packages": "true",
        "Acquire::Languages": "none",
        "Acquire::Retries": RETRIES,
        "Acquire::http::Timeout": SILENCE_SECONDS_MAX,
        "Acquire::https::Timeout": SILENCE_SECONDS_MAX,
    }
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    end = time.monotonic() + FETCH_SECONDS_MAX
    for words in (["update", "--error-on=any"], ["install", "-y", *PACKAGES]):
        _output(["apt-get", "-qq", *options, *words], seconds=end - time.monotonic())
    packages = sorted((folder / "cache" / "archives").glob("*.deb"))
    if not packages:
        raise SetupError("apt-get has brought no packages, and does not say why.")
    return packages


# --- laying out ------------------------------------------------------------------------------


def _unpack(packages: list[Path], tree: Path) -> None:
    """Unpack packages without running anything of theirs."""
    for name in ("bin", "lib", "lib64", "sbin"):
        (tree / "usr" / name).mkdir(parents=True)
        (tree / name).symlink_to(f"usr/{name}")
    left_out = [f"--exclude=./{name}" for name in LEFT_OUT]
    tar = ["tar", "-x", "--keep-directory-symlink", "--no-same-owner", *left_out, "-C", str(tree)]

    def unpack(package: Path) -> str:
        with subprocess.Popen(
            ["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE
        ) as reading:
            written = subprocess.run(
                tar,
                stdin=reading.stdout,
                stderr=subprocess.PIPE,
                text=True,
                timeout=UNPACK_SECONDS_MAX,
                check=False,
            )
        is_well = reading.returncode == 0 and written.returncode == 0
        return "" if is_well else f"{package.name}: {written.stderr.strip()}"

    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        problems = [problem for problem in pool.map(unpack, packages) if problem]
    if problems:
        raise SetupError(f"A package could not be unpacked: {problems[0]}")


def _lay_out(folder: Path) -> None:
    """Put program, Python and data where Blender's official archive has them."""
    tree = folder / "tree"
    libraries = tree / "usr" / "lib" / "x86_64-linux-gnu"
    # Packages would make these when they are installed.
    for name in ("blas", "lapack"):
        (libraries / f"lib{name}.so.3").symlink_to(f"{name}/lib{name}.so.3")
    searched = [libraries, tree / "usr" / "lib"]
    searched += [libraries / name for name in ("pulseaudio", "blas", "lapack")]
    path = ":".join(map(str, searched))

    loader = tree / "lib64" / "ld-linux-x86-64.so.2"
    run = [str(loader), "--library-path", path]
    # Blender asks the system for its own path, so it has to be a program there, not a script.
    blender = folder / "blender"
    shutil.copy2(tree / "usr" / "bin" / "blender", blender)
    patch = [*run, str(tree / "usr" / "bin" / "patchelf"), "--set-interpreter", str(loader)]
    _output([*patch, "--force-rpath", "--set-rpath", path, str(blender)])
    for library in libraries.glob("libpulse*.so.0.*"):
        # They name an absolute folder, which is empty here or holds another version.
        rpath = "$ORIGIN:$ORIGIN/pulseaudio"
        _output([*patch[:-2], "--set-rpath", rpath, str(library)])
    told = _output([str(blender), "--version"])
    version = re.match(r"Blender (\d+\.\d+)", told)
    if version is None:
        raise SetupError(f"What was fetched does not run: {told or 'it says nothing'}")
    home = folder / version[1]
    python = next(_pythons(tree))
    (home / "python" / "bin").mkdir(parents=True)
    (home / "python" / "lib").symlink_to(tree / "usr" / "lib")
    # patchelf breaks Python, which is content with the name that it was started by.
    launcher = home / "python" / "bin" / python.name
    launcher.write_text(
        f'#!/bin/sh\nexec {shlex.join(run)} --argv0 "$0" {shlex.quote(str(python))} "$@"\n',
        encoding="utf-8",
    )
    launcher.chmod(0o755)
    for part in ("scripts", "datafiles", "extensions"):
        if (tree / "usr" / "share" / "blender" / part).is_dir():
            (home / part).symlink_to(tree / "usr" / "share" / "blender" / part)
    # The modules that Blender's extension manager runs with that Python.
    _output([str(launcher), "-c", "import ssl, tomllib, zipfile"])


def _pythons(tree: Path) -> Iterator[Path]:
    for path in sorted((tree / "usr" / "bin").iterdir()):
        if re.fullmatch(r"python3\.\d+", path.name):
            yield path
    raise SetupError("Debian's Blender came without its Python.")


def _output(command: list[str], seconds: float = UNPACK_SECONDS_MAX) -> str:
    """Run a program; return what it printed, or raise `SetupError` with its last words."""
    try:
        answer = subprocess.run(
            command,
            env={**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=max(1.0, seconds),
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise SetupError(f"{command[0]} took longer than {error.timeout:.0f} s.") from error
    if answer.returncode != 0:
        lines = [line for line in (answer.stderr + answer.stdout).splitlines() if line.strip()]
        reason = lines[-1] if lines else f"exit code {answer.returncode}"
        raise SetupError(f"{Path(command[0]).name} failed: {reason}")
    return answer.stdout.strip()


if __name__ == "__main__":
    raise SystemExit(main())
