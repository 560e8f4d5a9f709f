"""The invariants of a farm, read from what lies on its disk after everything has stopped.

Nothing here asks the coordinator: the database is opened read-only and every stored byte is hashed,
so that a farm whose memory and whose disk disagree is found out.
"""

from __future__ import annotations

import hashlib
import io
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

SHA256_DIGITS = 64


@dataclass(frozen=True)
class StoredFrame:
    """A done frame as it lies on the disk."""

    frame: int
    generation: int
    files: tuple[dict[str, Any], ...]

    @property
    def told(self) -> tuple[tuple[str, str, str, int], ...]:
        """Its files as `history.History` notes them."""
        return tuple((f["root"], f["path"], f["sha256"], f["length"]) for f in self.files)


class Disk:
    """The folder of a coordinator that does not run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "coordinator.db"

    # --- the whole -----------------------------------------------------------------------------

    def check_store(self) -> None:
        """The database is sound, every blob hashes to its name, nothing half done lies about."""
        with closing(self._connect()) as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert db.execute("PRAGMA foreign_key_check").fetchall() == []
            twice = db.execute(
                "SELECT job, frame, generation, count(*) FROM attempts WHERE outcome = 'done' "
                "GROUP BY job, frame, generation HAVING count(*) > 1"
            ).fetchall()
            assert twice == [], f"more than one stored result for (job, frame, generation): {twice}"
            again = db.execute(
                "SELECT later.job, later.frame, later.node_name, later.outcome, "
                "later.started - first.ended FROM attempts AS first JOIN attempts AS later "
                "ON later.job = first.job AND later.frame = first.frame "
                "AND later.generation = first.generation "
                "WHERE first.outcome = 'done' AND later.started > first.ended "
                # A rival may begin in the moment in which it is told that it is too late.
                "AND later.outcome NOT IN ('superseded', 'returned', 'lost')"
            ).fetchall()
            assert again == [], f"frames given out after they were done: {again}"
        for path, name in self.blobs():
            assert hashlib.sha256(path.read_bytes()).hexdigest() == name, f"{path} is damaged"
        for leftover in ("temp", "arriving", "damaged"):
            left = [entry.name for entry in self._entries(leftover)]
            assert left == [], f"left in {leftover}: {left}"

    def blobs(self) -> Iterator[tuple[Path, str]]:
        """Every stored blob and the hash it is named by."""
        for folder in sorted((self.folder / "blobs").iterdir()):
            if len(folder.name) == 2:
                for path in sorted(folder.iterdir()):
                    assert len(path.name) == SHA256_DIGITS, f"{path} is no blob"
                    yield path, path.name

    def blob(self, sha256: str) -> bytes:
        """The bytes of a blob."""
        return (self.folder / "blobs" / sha256[:2] / sha256).read_bytes()

    # --- one job -------------------------------------------------------------------------------

    def frames(self, job: str) -> dict[int, StoredFrame]:
        """The done frames of a job. Fails where one that is open or failed has a result."""
        found: dict[int, StoredFrame] = {}
        with closing(self._connect()) as db:
            rows = db.execute(
                "SELECT frame, state, generation, result FROM frames WHERE job = ?", (job,)
            )
            for frame, state, generation, result in rows:
                if state != "done":
                    continue
                assert result is not None, f"frame {frame} is done and has no result"
                plain = json.loads(result)
                assert plain["generation"] == generation, f"frame {frame}: result of another time"
                found[frame] = StoredFrame(frame, generation, tuple(plain["files"]))
        return found

    def job_state(self, job: str) -> str:
        """State of a job."""
        with closing(self._connect()) as db:
            (state,) = db.execute("SELECT state FROM jobs WHERE id = ?", (job,)).fetchone()
        return str(state)

    def attempts(self, job: str) -> list[dict[str, Any]]:
        """Tries that are over, in the order they were given out."""
        with closing(self._connect()) as db:
            db.row_factory = sqlite3.Row
            rows = db.execute("SELECT * FROM attempts WHERE job = ? ORDER BY epoch", (job,))
            return [dict(row) for row in rows]

    def check_job(self, job: str, frames: list[int], size: tuple[int, int]) -> None:
        """Every frame is there once, whole, and an image of the size that was asked for."""
        assert self.job_state(job) == "done"
        stored = self.frames(job)
        assert sorted(stored) == frames, f"frames stored: {sorted(stored)}"
        results = Counter(a["frame"] for a in self.attempts(job) if a["outcome"] == "done")
        assert results == Counter(frames), f"results by frame: {dict(results)}"
        for frame in stored.values():
            assert frame.files, f"frame {frame.frame} has no file"
            for file in frame.files:
                data = self.blob(file["sha256"])
                assert len(data) == file["length"]
                assert hashlib.sha256(data).hexdigest() == file["sha256"]
                with Image.open(io.BytesIO(data)) as image:
                    image.load()
                    assert image.size == size

    def pixels(self, job: str) -> dict[int, bytes]:
        """The decoded pixels of the first file of every done frame."""
        found: dict[int, bytes] = {}
        for number, frame in self.frames(job).items():
            with Image.open(io.BytesIO(self.blob(frame.files[0]["sha256"]))) as image:
                found[number] = image.tobytes()
        return found

    # --- inside --------------------------------------------------------------------------------

    def _connect(self) -> sqlite3.Connection:
        assert self.database.exists(), f"no database in {self.folder}"
        # Not read-only: a database whose process was killed is recovered from its log by whoever
        # opens it next, as the next coordinator would.
        return sqlite3.connect(self.database)

    def _entries(self, name: str) -> list[Path]:
        folder = self.folder / "blobs" / name
        return sorted(folder.iterdir()) if folder.is_dir() else []
