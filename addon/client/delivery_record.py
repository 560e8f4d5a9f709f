"""What has been delivered of a job, on disk: so that a delivery goes on after a restart, and knows
which files it made itself.

One append-only file of JSON lines for each job, ``<data>/deliveries/<job id>.jsonl``: first a
line about the job, then one for each file that lies in its place, in the end one that says so. A
last line that is torn by a crash is ignored; its file is then found identical and kept.
"""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...wire import places
from .errors import DeliveryError

_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(slots=True)
class DeliveryRecord:
    """The memory of one delivery."""

    path: Path
    job: str
    farm_id: str
    destination: Path | None
    """Folder asked for instead of the scene's own output folders."""
    files: dict[str, str] = field(default_factory=dict)
    """Absolute path of a file this delivery put there -> its SHA-256."""
    is_complete: bool = False

    def add(self, file: Path, sha256: str) -> None:
        """Note that ``file`` is in its place. Raises OSError."""
        if self.files.get(str(file)) != sha256:
            self.files[str(file)] = sha256
            self.append({"file": str(file), "sha256": sha256})

    def complete(self) -> None:
        """Note that the job has ended and all of it is here. Raises OSError."""
        if not self.is_complete:
            self.is_complete = True
            self.append({"complete": True})

    def append(self, row: dict[str, Any]) -> None:
        """Write one line. Raises OSError."""
        with self.path.open("ab") as out:
            out.write(json.dumps(row).encode() + b"\n")


def open_record(job: str, farm_id: str, destination: Path | None) -> DeliveryRecord:
    """Return the record of a job's delivery, begun anew when there is none. Raises OSError."""
    path = _path(job)
    record = _load(path)
    if record is not None and record.farm_id == farm_id:
        record.destination = destination
        record.is_complete = False
    else:
        record = DeliveryRecord(path, job, farm_id, destination)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
    # Written again even when known: the newest line about the job counts.
    # A torn line of a crash is ended first, so that it cannot swallow this one.
    if path.exists() and not path.read_bytes().endswith(b"\n"):
        with path.open("ab") as out:
            out.write(b"\n")
    record.append(
        {
            "job": job,
            "farm_id": farm_id,
            "destination": str(destination) if destination is not None else None,
        }
    )
    return record


def unfinished(farm_id: str) -> tuple[DeliveryRecord, ...]:
    """Return the deliveries of this farm that were begun and are not complete, oldest first."""
    with contextlib.suppress(OSError):
        paths = sorted(
            (places.data_dir() / "deliveries").glob("*.jsonl"), key=lambda p: p.stat().st_mtime
        )
        records = (_load(path) for path in paths)
        return tuple(r for r in records if r and r.farm_id == farm_id and not r.is_complete)
    return ()


def forget_delivery(job: str) -> None:
    """Forget a delivery: it is not taken up again. The delivered files stay."""
    with contextlib.suppress(OSError):
        _path(job).unlink()


def _path(job: str) -> Path:
    # The id comes from the network and becomes a file name.
    if not _JOB_ID.fullmatch(job):
        raise DeliveryError(f"{job[:80]!r} is not the id of a job.")
    return places.data_dir() / "deliveries" / f"{job}.jsonl"


def _load(path: Path) -> DeliveryRecord | None:
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return None
    record: DeliveryRecord | None = None
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        match row:
            case {"job": str(job), "farm_id": str(farm_id), "destination": destination}:
                files = record.files if record is not None else {}
                folder = Path(destination) if isinstance(destination, str) else None
                record = DeliveryRecord(path, job, farm_id, folder, files)
            case {"file": str(file), "sha256": str(sha256)} if record is not None:
                record.files[file] = sha256
            case {"complete": True} if record is not None:
                record.is_complete = True
            case _:
                continue
    return record
