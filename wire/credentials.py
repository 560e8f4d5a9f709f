"""What lets this user into a farm: the coordinator's address, a token, a pinned certificate.

Two places, both readable by the user alone (mode 0600):

- ``<config>/local.json``, written by a running coordinator and removed when it stops. Every
  command, node and add-on of this user on this machine gets in by it without a word.
- ``<config>/farms/<farm id>.json``, one for each farm joined from elsewhere.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from .places import config_dir

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_SECRET = re.compile(r"[0-9a-f]{32}")
_FARM_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FILE_MAX_BYTES = 64 * 1024


class CredentialsError(ValueError):
    """A credentials file or join token that cannot be used; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """The way into one farm."""

    url: str
    """``http://127.0.0.1:7878`` or ``https://host:port``, no path, no slash at the end."""
    token: str
    """Bearer token, secret."""
    fingerprint: str
    """SHA-256 of the coordinator's DER certificate, 64 lower-case hex digits; '' on plain http."""
    farm: str
    """Name of the farm, for people."""
    farm_id: str
    """Durable id of the farm."""

    def __repr__(self) -> str:
        # Tokens must not reach logs by accident.
        return f"Credentials(url={self.url!r}, farm={self.farm!r}, farm_id={self.farm_id!r})"


@dataclass(frozen=True, slots=True)
class JoinToken:
    """What a coordinator prints so that others can join: ``rm1.<fingerprint or plain>.<secret>``.

    The fingerprint in it is what makes the first connection safe from a machine in the middle.
    """

    fingerprint: str
    """64 hex digits, or '' for a coordinator on plain http (loopback only)."""
    secret: str
    """32 hex digits."""

    @classmethod
    def parse(cls, text: str) -> JoinToken:
        """Return the token that ``text`` spells. Raises `CredentialsError`."""
        parts = text.strip().split(".")
        if len(parts) == 3 and parts[0] == "rm1":
            fingerprint = "" if parts[1] == "plain" else parts[1]
            if _SECRET.fullmatch(parts[2]) and (
                not fingerprint or _FINGERPRINT.fullmatch(fingerprint)
            ):
                return cls(fingerprint, parts[2])
        raise CredentialsError(
            "That is not a join token; copy the whole text that starts with rm1. and that the "
            "coordinator prints when it starts."
        )

    def __str__(self) -> str:
        return f"rm1.{self.fingerprint or 'plain'}.{self.secret}"

    def __repr__(self) -> str:
        return f"JoinToken(fingerprint={self.fingerprint!r})"


def local_path() -> Path:
    """Path of ``local.json``."""
    return config_dir() / "local.json"


def load_local() -> Credentials | None:
    """Return the credentials a coordinator of this user left here; None when there are none.

    The coordinator may have died without removing them: they say where to ask, not that anyone
    answers. Raises `CredentialsError` for a file that cannot be read.
    """
    return _load(local_path())


def write_local(credentials: Credentials, pid: int | None = None) -> None:
    """Let everything of this user on this machine in. Atomic and durable, mode 0600.

    ``pid`` is the process that serves, for people; None: this one. Raises OSError.
    """
    _write(local_path(), asdict(credentials) | {"pid": os.getpid() if pid is None else pid})


def remove_local(credentials: Credentials) -> None:
    """Take back what `write_local` wrote, unless another coordinator has replaced it since."""
    try:
        present = load_local()
    except CredentialsError:
        return
    if present is not None and present.token == credentials.token:
        with contextlib.suppress(FileNotFoundError):
            local_path().unlink()


def saved_farms() -> tuple[Credentials, ...]:
    """Return the farms this user has joined, the one joined last first.

    Raises `CredentialsError` for a file that cannot be read, naming it.
    """
    try:
        paths = sorted(
            (config_dir() / "farms").glob("*.json"), key=lambda p: p.stat().st_mtime, reverse=True
        )
    except FileNotFoundError:
        return ()
    return tuple(farm for farm in map(_load, paths) if farm is not None)


def save_farm(credentials: Credentials) -> None:
    """Remember a farm that was joined; replaces what was known of it. Raises OSError."""
    _write(_farm_path(credentials.farm_id), asdict(credentials))


def forget_farm(farm_id: str) -> bool:
    """Forget a farm; whether it was known."""
    try:
        _farm_path(farm_id).unlink()
    except FileNotFoundError:
        return False
    return True


def _farm_path(farm_id: str) -> Path:
    # The id comes from the network and becomes a file name.
    if not _FARM_ID.fullmatch(farm_id):
        raise CredentialsError(f"{farm_id[:80]!r} is not the id of a farm.")
    return config_dir() / "farms" / f"{farm_id}.json"


def _load(path: Path) -> Credentials | None:
    try:
        with path.open("rb") as file:
            plain: Any = json.loads(file.read(_FILE_MAX_BYTES))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CredentialsError(
            f"{path} cannot be read ({error}); delete it and join again."
        ) from error
    names = [field.name for field in fields(Credentials)]
    if not isinstance(plain, dict) or not all(isinstance(plain.get(name), str) for name in names):
        raise CredentialsError(f"{path} is not a credentials file; delete it and join again.")
    credentials = Credentials(**{name: plain[name] for name in names})
    if credentials.fingerprint and not _FINGERPRINT.fullmatch(credentials.fingerprint):
        raise CredentialsError(
            f"{path} holds a fingerprint that is none; delete it and join again."
        )
    return credentials


def _write(path: Path, plain: dict[str, Any]) -> None:
    write_private(path, json.dumps(plain, indent=1).encode())


def write_private(path: Path, data: bytes) -> None:
    """Write ``data`` whole and durably to a file only its owner can read. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # mkstemp makes the file 0600 from the start: at no moment can another user read it.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
