"""Which jobs this user sent from this machine, and into which folders their frames may be written.

A coordinator says what a job has rendered, but where on this machine that goes is for the artist to
say, once, when the scene is sent. Were the folders taken from the coordinator, one that has fallen
into other hands could write wherever the artist may: a start-up script, an ``authorized_keys``.

One small file for each job, ``<data>/sent/<job id>.json``.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path

from ...protocol.codec import CodecError, decode_json, encode_json
from ...protocol.job import JobSpec, OutputRoot
from ...wire import places
from .errors import DeliveryError

JOBS_LOOKED_AT = 500
_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SentJob:
    """What the artist's own scene said when it was sent."""

    farm_id: str
    outputs: tuple[OutputRoot, ...]
    overwrite: bool
    """Whether frames may replace files that lie in these folders already."""
    blend: str = ""
    """The artist's own .blend; '' for one that was never saved."""
    placeholder: str = ""
    """As `CapturedScene` has it."""


def remember_sent(
    job: str, farm_id: str, spec: JobSpec, blend: str = "", *, placeholder: str = ""
) -> None:
    """Note that this scene went to that farm as job ``job``. Raises OSError, `DeliveryError`."""
    path = path_of_job("sent", job, ".json")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    sent = SentJob(
        farm_id=farm_id,
        outputs=spec.outputs,
        overwrite=spec.overwrite,
        blend=blend,
        placeholder=placeholder,
    )
    part.write_bytes(encode_json(sent))
    part.replace(path)


def recall_sent(job: str, farm_id: str) -> SentJob | None:
    """Return what is known of a job of that farm; None when it was not sent from here."""
    try:
        sent = decode_json(path_of_job("sent", job, ".json").read_bytes(), SentJob)
    except (OSError, CodecError):
        return None
    return sent if sent.farm_id == farm_id else None


def jobs_of_blend(blend: str, farm_id: str) -> tuple[str, ...]:
    """Return the ids of the jobs that were made of a .blend on that farm, among the newest
    `JOBS_LOOKED_AT` sent from here. Blocks."""
    with contextlib.suppress(OSError):
        notes = sorted(
            (places.data_dir() / "sent").glob("*.json"), key=lambda note: note.stat().st_mtime
        )
        ids = [note.stem for note in notes[-JOBS_LOOKED_AT:]]
        known = ((job, recall_sent(job, farm_id)) for job in ids if _JOB_ID.fullmatch(job))
        return tuple(job for job, sent in known if sent is not None and sent.blend == blend)
    return ()


def forget_sent(job: str) -> None:
    """Forget a job that is no more."""
    with contextlib.suppress(OSError):
        path_of_job("sent", job, ".json").unlink()


def path_of_job(folder: str, job: str, ending: str) -> Path:
    """Return the file that keeps something about a job. Raises `DeliveryError` for a bad id."""
    # The id comes from the network and becomes a file name.
    if not _JOB_ID.fullmatch(job):
        raise DeliveryError(f"{job[:80]!r} is not the id of a job.")
    return places.data_dir() / folder / f"{job}{ending}"
