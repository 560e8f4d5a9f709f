"""What has been delivered of a job, on disk: so that a delivery goes on after a restart, and knows
which files it made itself.

One append-only file of JSON lines for each job and folder, ``<data>/deliveries/<job id>.jsonl`` for
the scene's own folders, ``<job id>.<hash>.jsonl`` for another: first a line about the job, then one
for each file that lies in its place, in the end one that says so. A last line that is torn by a
crash is ignored; its file is then found identical and kept. A placeholder is noted before it is
laid and when it was taken away: one that a crash leaves is known for ours. Several processes may
deliver the same: lines are appended in one write, and `DeliveryRecord.refresh` takes over those of
the others.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...wire import places
from .sent_jobs import path_of_job


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
    laid: dict[str, None] = field(default_factory=dict)
    """Absolute paths of the placeholders that lie there, or may: an ordered set."""
    is_complete: bool = False

    def add(self, file: Path, sha256: str) -> None:
        """Note that ``file`` is in its place. Raises OSError."""
        self.laid.pop(str(file), None)
        if self.files.get(str(file)) != sha256:
            self.files[str(file)] = sha256
            self.append({"file": str(file), "sha256": sha256})

    def lay(self, file: Path) -> None:
        """Lay an empty file under a name that nothing has. Raises OSError."""
        if str(file) in self.laid or os.path.lexists(file):
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        self.laid[str(file)] = None
        self.append({"laid": str(file)})
        with contextlib.suppress(FileExistsError):
            file.open("xb").close()

    def lift(self, file: Path) -> None:
        """Take away a placeholder if it is ours and still empty. Raises OSError."""
        if str(file) not in self.laid:
            return
        if is_placeholder(file):
            file.unlink(missing_ok=True)
        del self.laid[str(file)]
        self.append({"lifted": str(file)})

    def lift_all(self) -> None:
        """Take away every placeholder that is ours and still empty. Raises OSError."""
        for file in list(self.laid):
            self.lift(Path(file))

    def refresh(self) -> None:
        """Take over what other processes have noted since."""
        present = _load(self.path)
        if present is not None and present.farm_id == self.farm_id:
            self.files.update(present.files)

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
    """Return the record of a delivery, begun anew when there is none. Raises OSError."""
    path = _path(job, destination)
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
    """Forget the deliveries of a job: none is taken up again. The delivered files stay, the
    placeholders of frames that will not come do not."""
    own = _path(job, None)
    for path in (own, *own.parent.glob(f"{job}.*.jsonl")):
        with contextlib.suppress(OSError):
            record = _load(path)
            if record is not None:
                record.lift_all()
            path.unlink()


def is_placeholder(path: Path) -> bool:
    """Whether a file is an empty one, as Blender's *Placeholders* leaves for a frame to come."""
    return path.is_file() and not path.is_symlink() and path.stat().st_size == 0


def _path(job: str, destination: Path | None) -> Path:
    ending = ".jsonl"
    if destination is not None:
        ending = f".{hashlib.sha256(str(destination).encode()).hexdigest()[:16]}.jsonl"
    return path_of_job("deliveries", job, ending)


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
                files, laid = (record.files, record.laid) if record is not None else ({}, {})
                folder = Path(destination) if isinstance(destination, str) else None
                record = DeliveryRecord(path, job, farm_id, folder, files, laid)
            case {"file": str(file), "sha256": str(sha256)} if record is not None:
                record.files[file] = sha256
                record.laid.pop(file, None)
            case {"laid": str(file)} if record is not None:
                record.laid[file] = None
            case {"lifted": str(file)} if record is not None:
                record.laid.pop(file, None)
            case {"complete": True} if record is not None:
                record.is_complete = True
            case _:
                continue
    return record
