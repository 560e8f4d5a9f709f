"""Who sends scenes from this machine, and where copies of scenes lie until they are sent."""

from __future__ import annotations

from pathlib import Path

from ...wire import places


def submitter() -> str:
    """Return ``user@host``, as it stands in `protocol.job.JobSpec.submitter`."""
    return places.user_label()


def snapshots_dir() -> Path:
    """Folder for temporary copies of scenes: on the cache's disk, where ``/tmp`` may be memory."""
    return places.cache_dir() / "snapshots"
