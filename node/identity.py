"""Who this node is: an id that lasts as long as its data folder, and one process life of it."""

from __future__ import annotations

import json
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from .locks import FileLock

_ID_BYTES = 16
_ID = re.compile(r"[0-9a-f]{32}")


class NodeError(Exception):
    """Why the node cannot run; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The durable id of a node and its incarnation, both 32 hex digits."""

    node: str
    incarnation: str


class DataFolder:
    """The folder of one node: its id, its outbox, its scratch. One process holds it at a time.

    Raises `NodeError` when another node runs in it, or when it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(folder / "node.lock")
            held = self._lock.acquire(wait=False)
        except OSError as error:
            raise NodeError(
                f"The folder {folder} of this node cannot be written: {error.strerror}. "
                "Choose another one with --data."
            ) from error
        if not held:
            raise NodeError(
                f"Another node runs in {folder}. "
                "Give this one a name (--name) or a folder (--data) of its own."
            )
        try:
            self.identity = Identity(_node_id(folder / "node.json"), secrets.token_hex(_ID_BYTES))
        except OSError as error:
            self.close()
            raise NodeError(
                f"The folder {folder} of this node cannot be written: {error.strerror}. "
                "Check its disk, or choose another one with --data."
            ) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let another node have the folder."""
        self._lock.release()


def _node_id(path: Path) -> str:
    try:
        plain = json.loads(path.read_bytes())
    except FileNotFoundError:
        node = secrets.token_hex(_ID_BYTES)
        write_durably(path, json.dumps({"node": node}).encode())
        return node
    except (OSError, ValueError) as error:
        raise NodeError(
            f"The file {path} with the id of this node cannot be read ({error}). "
            "Delete it: the node then counts as a new one."
        ) from error
    node = plain.get("node") if isinstance(plain, dict) else None
    if not isinstance(node, str) or not _ID.fullmatch(node):
        raise NodeError(f"The file {path} holds no node id. Delete it: the node gets a new one.")
    return node


def write_durably(path: Path, data: bytes) -> None:
    """Put ``data`` under ``path`` so that after a power cut it is there whole, or not at all."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable; Windows does so by itself and cannot be asked."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
