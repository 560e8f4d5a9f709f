"""Scenes on this machine's disk: verified chunks, files put together from them, and a quota.

One folder serves every node process of a user on a machine. Its places::

    chunks/ab/<sha256>       a chunk; its bytes were hashed before it got this name
    files/ab/<id>            a file of several chunks, put together once (id: `file_id`)
    manifests/<sha256>       the manifest blob of a scene, kept as long as its chunks
    scenes/<sha256>          empty; all chunks were here when it was touched last (= last use)
    uses/<sha256>.<user>     empty; process <user> works on this scene, nothing of it may go
    trees/<sha256>.<user>/   the scene as Blender opens it (see `workspace`)
    users/<user>.lock        locked as long as the process lives
    total                    bytes in chunks, files and manifests, and those promised to processes
    incoming/                bytes that have no name yet

Every name appears by rename or link, whole or not at all. Names are not fsynced one by one, and
disks damage what they keep: chunks and files are hashed again each time a scene is built of them.
All functions block; call them from a thread.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..protocol.codec import CodecError, decode_manifest
from ..protocol.manifest import Chunk, Manifest, ManifestError, ManifestFile
from .locks import FileLock

QUOTA_MAX_BYTES = 100 * 1024**3
"""The default quota is this, or `QUOTA_DISK_PART` of the disk where that is less."""
QUOTA_DISK_PART = 0.2

DISK_RESERVE_BYTES = 512 * 1024**2
"""Room the cache leaves on its disk: finished frames need it more."""

SCENES_TOLD_MAX = 100

_FULL = (errno.ENOSPC, errno.EDQUOT)


class CacheError(Exception):
    """Why the cache cannot do its work; one sentence for people."""


class CacheFull(CacheError):
    """No room: the quota or the disk. The message says what to do."""


class ChunkRefused(CacheError):
    """Bytes that do not hash to the name they came under."""


class ChunkMissing(CacheError):
    """A chunk that is not there, or was damaged on disk (and is gone now): fetch it (again)."""

    def __init__(self, chunk: Chunk) -> None:
        super().__init__(f"Chunk {chunk.sha256[:12]} of the scene is not in the cache.")
        self.chunk = chunk


def default_quota(folder: Path) -> int:
    """Bytes the cache may take when nobody says: `QUOTA_MAX_BYTES` or a part of its disk."""
    folder.mkdir(parents=True, exist_ok=True)
    return min(QUOTA_MAX_BYTES, int(shutil.disk_usage(folder).total * QUOTA_DISK_PART))


def file_id(file: ManifestFile) -> str:
    """Name of a file's content by its chunks: equal content cut alike has an equal id."""
    digest = hashlib.sha256()
    for chunk in file.chunks:
        digest.update(bytes.fromhex(chunk.sha256))
        digest.update(chunk.length.to_bytes(8, "big"))
    return digest.hexdigest()


@dataclass(slots=True)
class _Usage:
    """What lies in the cache, by relative path, with its length in bytes."""

    sizes: dict[str, int] = field(default_factory=dict)
    others: int = 0
    """Bytes that are nobody's to evict: copies in trees, incoming."""

    @property
    def total(self) -> int:
        return sum(self.sizes.values()) + self.others


class ChunkCache:
    """The cache as one process sees it; ``user`` names the process (its incarnation).

    ``on_evicted`` is called, from whatever thread needed room, with the hash of each scene that
    is no longer complete.
    """

    def __init__(
        self,
        folder: Path,
        quota_bytes: int,
        user: str,
        *,
        reserve_bytes: int = DISK_RESERVE_BYTES,
        on_evicted: Callable[[str], None] | None = None,
    ) -> None:
        self.folder = folder
        self.quota_bytes = quota_bytes
        self.user = user
        self.on_evicted = on_evicted
        self._reserve_bytes = reserve_bytes
        self._count = itertools.count()
        try:
            for name in ("chunks", "files", "manifests", "scenes", "uses", "trees", "incoming"):
                (folder / name).mkdir(parents=True, exist_ok=True)
            self._alive = FileLock(folder / "users" / f"{user}.lock")
            self._alive.acquire(wait=True)
            try:
                with self._evicting():
                    self._sweep()
                    self._write_total(self._measure().total)
            except BaseException:
                self._alive.release()
                raise
        except OSError as error:
            raise CacheError(
                f"The scene cache {folder} cannot be written: {error.strerror or error}."
            ) from error

    def close(self) -> None:
        """Let go of every scene and take away this process's trees. Raises `CacheError`."""
        try:
            with self._evicting():
                self._forget_user(self.user)
                self._alive.release()
                self._alive.path.unlink(missing_ok=True)
        except OSError as error:
            raise self.explain(error) from error
        finally:
            # Whatever could not be taken away is swept by the next process that sees it free.
            self._alive.release()

    # --- chunks ------------------------------------------------------------------------------

    def chunk_path(self, sha256: str) -> Path:
        """Where the chunk lies, or would."""
        return self.folder / "chunks" / sha256[:2] / sha256

    def file_path(self, file: ManifestFile) -> Path:
        """Where a file of several chunks lies when it has been put together, or would."""
        name = file_id(file)
        return self.folder / "files" / name[:2] / name

    def missing(self, manifest: Manifest) -> list[Chunk]:
        """Chunks that must be fetched before every file of the scene can be put together."""
        wanted: dict[str, Chunk] = {}
        for file in manifest.files:
            if len(file.chunks) > 1 and _has(self.file_path(file), file.length):
                continue
            wanted.update((chunk.sha256, chunk) for chunk in file.chunks)
        return [
            chunk
            for chunk in wanted.values()
            if not _has(self.chunk_path(chunk.sha256), chunk.length)
        ]

    def put_chunk(self, sha256: str, data: bytes) -> None:
        """Store a chunk. Raises `ChunkRefused`, `CacheFull`."""
        if hashlib.sha256(data).hexdigest() != sha256:
            raise ChunkRefused(
                f"The bytes that came as chunk {sha256[:12]} do not hash to that name."
            )
        self._put(self.chunk_path(sha256), data)

    def read_chunk(self, chunk: Chunk) -> bytes:
        """Return the verified bytes of a chunk. Raises `ChunkMissing`; a damaged one is removed."""
        path = self.chunk_path(chunk.sha256)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ChunkMissing(chunk) from error
        if hashlib.sha256(data).hexdigest() != chunk.sha256:
            path.unlink(missing_ok=True)
            raise ChunkMissing(chunk)
        return data

    def drop_damaged(self, manifest: Manifest) -> None:
        """Remove every chunk of a scene that is not what its name says; all at once.

        A disk that damaged one has likely damaged more: they are fetched again together.
        """
        for sha256, length in manifest.blobs().items():
            with contextlib.suppress(ChunkMissing):
                self.read_chunk(Chunk(sha256, length))

    def is_sound(self, file: ManifestFile) -> bool:
        """Whether a file of several chunks is here and every byte is right; else it is removed."""
        path = self.file_path(file)
        try:
            with path.open("rb") as data:
                sound = all(
                    hashlib.sha256(data.read(chunk.length)).hexdigest() == chunk.sha256
                    for chunk in file.chunks
                ) and not data.read(1)
        except FileNotFoundError:
            return False
        if not sound:
            path.unlink(missing_ok=True)
        return sound

    def _put(self, path: Path, data: bytes) -> None:
        temporary = self.temporary()
        try:
            with temporary.open("xb") as file:
                file.write(data)
            # Read-only: a tree links to this very file.
            temporary.chmod(0o444)
            path.parent.mkdir(exist_ok=True)
            temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise self.explain(error) from error

    def temporary(self) -> Path:
        """A new name for bytes on their way in; swept when this process is gone."""
        return self.folder / "incoming" / f"{self.user}.{next(self._count)}"

    def explain(self, error: OSError) -> CacheError:
        """Turn an error of the disk into a sentence."""
        if error.errno in _FULL:
            return CacheFull(
                f"The disk of the scene cache {self.folder} is full. "
                "Make room there, or give the node a smaller cache with --cache-size."
            )
        return CacheError(
            f"The scene cache {self.folder} cannot be written: {error.strerror or error}."
        )

    # --- scenes ------------------------------------------------------------------------------

    def pin(self, manifest: str) -> None:
        """Keep everything of this scene until `unpin`, or until this process ends."""
        # An eviction under way has already read the pins: wait for its end, then look again.
        with self._evicting():
            (self.folder / "uses" / f"{manifest}.{self.user}").touch()

    def unpin(self, manifest: str) -> None:
        """The scene may leave when space is short."""
        (self.folder / "uses" / f"{manifest}.{self.user}").unlink(missing_ok=True)

    def put_manifest(self, sha256: str, data: bytes) -> Manifest:
        """Store a manifest blob. Raises `ChunkRefused` where it is not what its name says."""
        if hashlib.sha256(data).hexdigest() != sha256:
            raise ChunkRefused(f"The manifest {sha256[:12]} does not hash to its name.")
        try:
            manifest = decode_manifest(data)
        except (CodecError, ManifestError) as error:
            raise ChunkRefused(f"The manifest {sha256[:12]} cannot be used: {error}") from error
        self._put(self.folder / "manifests" / sha256, data)
        return manifest

    def manifest(self, sha256: str) -> Manifest | None:
        """The manifest of that hash, if it is here and sound."""
        path = self.folder / "manifests" / sha256
        try:
            data = path.read_bytes()
        except OSError:
            return None
        if hashlib.sha256(data).hexdigest() != sha256:
            path.unlink(missing_ok=True)
            return None
        return decode_manifest(data)

    def mark_complete(self, manifest: str) -> None:
        """All chunks of this scene are here; it counts as used now."""
        (self.folder / "scenes" / manifest).touch()

    def complete_scenes(self) -> tuple[str, ...]:
        """Manifest hashes of the scenes that are here whole, most recently used first."""
        found = [
            (entry.stat().st_mtime_ns, entry.name) for entry in _entries(self.folder / "scenes")
        ]
        return tuple(name for _, name in sorted(found, reverse=True)[:SCENES_TOLD_MAX])

    def tree_path(self, manifest: str) -> Path:
        """Folder of this process's tree of a scene."""
        return self.folder / "trees" / f"{manifest}.{self.user}"

    def lock_scene(self, manifest: str) -> FileLock:
        """The lock that lets one process fetch a scene while others wait for it."""
        return FileLock(self.folder / "fetching" / f"{manifest[:2]}.lock")

    # --- room --------------------------------------------------------------------------------

    def make_room(self, wanted: int) -> None:
        """See to it that ``wanted`` bytes fit, evicting the scenes used longest ago.

        Called before bytes are put, once for all of them: what was promised to every process is
        summed up in a file, and the folder is measured only when that sum reaches the quota.
        Scenes that a living process uses stay. Raises `CacheFull` when that is not enough.
        """
        evicted: list[str] = []
        try:
            with self._evicting():
                total = self._read_total()
                if total is None or not self._fits(total, wanted):
                    total = self._evict(wanted, evicted)
                self._write_total(total + wanted)
        except OSError as error:
            raise self.explain(error) from error
        finally:
            if self.on_evicted is not None:
                for manifest in evicted:
                    self.on_evicted(manifest)

    def _fits(self, total: int, wanted: int) -> bool:
        return total + wanted <= self.quota_bytes and self._disk_free() >= wanted

    def _read_total(self) -> int | None:
        try:
            return int((self.folder / "total").read_bytes())
        except (OSError, ValueError):
            return None

    def _write_total(self, total: int) -> None:
        (self.folder / "total").write_bytes(b"%d" % total)

    def _evict(self, wanted: int, evicted: list[str]) -> int:
        """Free what must be freed; return the bytes that are left."""
        self._sweep()
        usage = self._measure()
        total = usage.total
        pinned = {name.partition(".")[0] for name in _names(self.folder / "uses")}
        for manifest, path in self._in_order_of_leaving(usage, pinned):
            if self._fits(total, wanted):
                break
            if manifest and manifest not in evicted:
                (self.folder / "scenes" / manifest).unlink(missing_ok=True)
                evicted.append(manifest)
            (self.folder / path).unlink(missing_ok=True)
            total -= usage.sizes[path]
        self._write_total(total)
        if total + wanted > self.quota_bytes:
            raise CacheFull(
                f"The scene needs {_size(wanted)} more than the scene cache can give: "
                f"{_size(total)} of its {_size(self.quota_bytes)} are in use by running jobs. "
                "Give the node more with --cache-size."
            )
        if self._disk_free() < wanted:
            raise CacheFull(
                f"The disk of the scene cache {self.folder} is too full for {_size(wanted)} more. "
                "Make room there."
            )
        return total

    def _in_order_of_leaving(self, usage: _Usage, pinned: set[str]) -> Iterator[tuple[str, str]]:
        """(scene, path) of all that may go: what no scene has, then the scene used longest ago.

        Something that several scenes share goes with the one used last.
        """
        uses: list[tuple[int, str]] = []
        for name in _names(self.folder / "manifests"):
            try:
                used = (self.folder / "scenes" / name).stat().st_mtime_ns
            except OSError:
                used = 0
            uses.append((used, name))
        rest = dict(usage.sizes)
        groups: list[tuple[str, list[str]]] = []
        # Pinned ones first, so that all they have is taken out of the rest.
        for _, name in sorted(uses, key=lambda use: (use[1] in pinned, use[0]), reverse=True):
            paths = [path for path in self._paths(name) if rest.pop(path, None) is not None]
            if name not in pinned:
                groups.append((name, paths))
        yield from (("", path) for path in rest if not path.startswith("manifests"))
        for name, paths in reversed(groups):
            yield from ((name, path) for path in paths)

    def _paths(self, manifest: str) -> Iterator[str]:
        """Paths of a scene below the cache; assembled files first: chunks can remake them."""
        found = self.manifest(manifest)
        if found is not None:
            for file in found.files:
                if len(file.chunks) > 1:
                    yield self.file_path(file).relative_to(self.folder).as_posix()
            for sha256 in found.blobs():
                yield f"chunks/{sha256[:2]}/{sha256}"
        yield f"manifests/{manifest}"

    def _measure(self) -> _Usage:
        usage = _Usage()
        for top in ("chunks", "files"):
            for folder in _entries(self.folder / top):
                for entry in _entries(folder.path):
                    usage.sizes[f"{top}/{folder.name}/{entry.name}"] = _length(entry)
        for entry in _entries(self.folder / "manifests"):
            usage.sizes[f"manifests/{entry.name}"] = _length(entry)
        usage.others += sum(_length(entry) for entry in _entries(self.folder / "incoming"))
        for tree in _entries(self.folder / "trees"):
            for path, _, files in os.walk(tree.path):
                for name in files:
                    status = (Path(path) / name).lstat()
                    # A second name costs nothing: the bytes were counted under the first.
                    usage.others += status.st_size if status.st_nlink == 1 else 0
        return usage

    def _disk_free(self) -> int:
        return shutil.disk_usage(self.folder).free - self._reserve_bytes

    def _evicting(self) -> FileLock:
        return FileLock(self.folder / "evict.lock")

    def _sweep(self) -> None:
        """Take away what processes that died have left. The caller holds the eviction lock."""
        for name in _names(self.folder / "users"):
            user = name.removesuffix(".lock")
            if user == self.user:
                continue
            lock = FileLock(self.folder / "users" / name)
            if lock.acquire(wait=False):
                self._forget_user(user)
                lock.path.unlink(missing_ok=True)
                lock.release()

    def _forget_user(self, user: str) -> None:
        for top in ("uses", "trees", "incoming"):
            for name in _names(self.folder / top):
                if user in name.split("."):
                    remove(self.folder / top / name)


def remove(path: Path) -> None:
    """Delete a file or a whole folder, read-only files too; what is not there is no error."""

    def unlock_and_retry(function: Callable[[str], object], name: str, error: object) -> None:
        del error
        Path(name).chmod(0o700)
        function(name)

    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, onerror=unlock_and_retry)
    else:
        path.unlink(missing_ok=True)


def _has(path: Path, length: int) -> bool:
    try:
        return path.stat().st_size == length
    except OSError:
        return False


def _entries(folder: Path | str) -> Iterable[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except FileNotFoundError:
        return []


def _names(folder: Path) -> list[str]:
    return [entry.name for entry in _entries(folder)]


def _length(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return 0  # Renamed or evicted by another process since it was listed.


def _size(count: int) -> str:
    for unit, bytes_of in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if count >= bytes_of:
            return f"{count / bytes_of:.1f} {unit}"
    return f"{count} bytes"
