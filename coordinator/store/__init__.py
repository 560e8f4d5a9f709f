"""What the coordinator keeps: the database of jobs, frames and nodes, and the blobs.

Anything here that says "done" has reached the disk. A failed commit or fsync is final
(`StoreFailed`): what is on the disk is no longer known, so nothing more is accepted and the next
start goes by what can be read back.
"""

from __future__ import annotations


class StoreError(Exception):
    """Base of what the store raises; the message is for people."""


class StoreFailed(StoreError):
    """The disk did not take what it was given. Final for this process."""


class DiskFull(StoreError):
    """There is no room; nothing was stored, and the same request may work later."""


class DataInUse(StoreError):
    """Another coordinator works on this data folder."""


class DataTooNew(StoreError):
    """The data folder was written by a newer Rendermill."""


class DataDamaged(StoreError):
    """The database cannot be read, or is not there although blobs are. Nothing was changed."""
