"""The file tree of a scene, as its artist's machine has it below the scene's roots.

Files are second names (hard links) of what the cache holds, read-only, so a tree costs no bytes
and next to no time; where the disk cannot link, they are copies. A file of several chunks is put
together once and kept by its content. The .blend keeps its name and every file its place, because
Blender's disk caches hang on both.

The exception is the state of baked Geometry Nodes (``meta/*.json``): Blender opens these few bytes
for writing although it only reads them, and where it may not, the geometry is gone without a word
(seen in 4.5 and 5.0). They are copies that Blender may write to; where the whole tree is read-only
to Blender, the folder ``meta`` is a link into one that is not.

All files are equally old. Cycles compares times to see whether a compiled shader or the cache of a
texture still belongs to its source; those that do not are not sent.

Nothing is followed on the way: paths are checked again, and folders are opened one by one under
the handle of the one above, never through a link.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
from pathlib import Path, PurePosixPath

from ..protocol.manifest import Manifest, ManifestFile, check_path
from .cache import ChunkCache, ChunkMissing, remove

_CANNOT_LINK = (
    errno.EXDEV,
    errno.EPERM,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.EMLINK,
    errno.ENOSYS,
    errno.EACCES,
)
"""No second name possible: other disk, a file system without links, or too many of them."""

FILE_TIME_NS = 946_684_800 * 10**9
"""When every file of a tree was modified: the year 2000, which any disk can write down."""

_BY_HANDLE = {os.open, os.link, os.utime} <= os.supports_dir_fd
"""Windows has no folder handles here; there the tree is new, private and made by us alone."""


def build_tree(
    manifest: Manifest, cache: ChunkCache, folder: Path, writable: Path | None = None
) -> None:
    """Make the tree of ``manifest`` as ``folder``, which must not exist; whole or not at all.

    ``writable`` is a folder for what Blender must be able to write, when it may not in ``folder``;
    it is emptied, and the caller's to remove.

    Blocks. Raises `ChunkMissing` for a chunk to fetch (again), `CacheFull`, `CacheError`.
    """
    remove(folder)
    try:
        folder.mkdir(mode=0o700)
        if writable is not None:
            remove(writable)
        states = _bake_states(manifest)
        tree = _Tree(folder)
        try:
            for file in manifest.files:
                if PurePosixPath(file.path).parent in states:
                    _place_state(file, cache, tree, writable)
                else:
                    _place(file, cache, tree)
                    tree.settle(PurePosixPath(file.path))
        finally:
            tree.close()
    except OSError as error:
        remove(folder)
        raise cache.explain(error) from error
    except ChunkMissing:
        remove(folder)
        cache.drop_damaged(manifest)
        raise
    except BaseException:
        remove(folder)
        raise


def _place(file: ManifestFile, cache: ChunkCache, tree: _Tree) -> None:
    path = PurePosixPath(check_path(file.path))
    if not file.chunks:
        tree.write(path, b"")
    elif len(file.chunks) == 1:
        data = cache.read_chunk(file.chunks[0])
        if not tree.link(cache.chunk_path(file.chunks[0].sha256), path):
            tree.write(path, data)
    else:
        source = assemble(file, cache)
        if not tree.link(source, path):
            tree.copy(source, path)


def _bake_states(manifest: Manifest) -> set[PurePosixPath]:
    """Return the folders that hold nothing but the state of bakes."""
    paths = [PurePosixPath(file.path) for file in manifest.files]
    states = {path.parent for path in paths if _is_bake_state(path)}
    above = {folder for path in paths for folder in path.parents if folder != path.parent}
    others = {path.parent for path in paths if not _is_bake_state(path)}
    return states - above - others


def _is_bake_state(path: PurePosixPath) -> bool:
    return path.parent.name == "meta" and path.suffix == ".json"


def _place_state(file: ManifestFile, cache: ChunkCache, tree: _Tree, writable: Path | None) -> None:
    path = PurePosixPath(check_path(file.path))
    data = b"".join(cache.read_chunk(chunk) for chunk in file.chunks)
    if writable is None:
        tree.write(path, data, mode=0o600)
        return
    own = writable / hashlib.sha256(str(path.parent).encode()).hexdigest()[:16]
    if not own.exists():
        own.mkdir(parents=True)
        tree.lead(path.parent, own)
    (own / path.name).write_bytes(data)


def assemble(file: ManifestFile, cache: ChunkCache) -> Path:
    """Return where the cache holds this file of several chunks; puts it together if it must.

    Every chunk is verified on the way; room was made before. Raises `ChunkMissing`, `CacheFull`,
    `CacheError`.
    """
    path = cache.file_path(file)
    try:
        if cache.is_sound(file):
            return path
    except OSError as error:
        raise cache.explain(error) from error
    temporary = cache.temporary()
    try:
        with temporary.open("xb") as out:
            for chunk in file.chunks:
                out.write(cache.read_chunk(chunk))
        temporary.chmod(0o444)
        path.parent.mkdir(exist_ok=True)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise cache.explain(error) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path


class _Tree:
    """A folder that is being filled, in the order of a manifest: sorted by path."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: list[tuple[str, int]] = []
        """Handles from the root down to where the last file went."""
        if _BY_HANDLE:
            self._open.append(("", os.open(folder, _FOLDER_FLAGS)))

    def close(self) -> None:
        """Close the handles."""
        while self._open:
            os.close(self._open.pop()[1])

    def link(self, source: Path, path: PurePosixPath) -> bool:
        """Give ``source`` a second name in the tree; False where this disk cannot."""
        try:
            if _BY_HANDLE:
                os.link(source, path.name, dst_dir_fd=self._parent(path), follow_symlinks=False)
            else:
                os.link(source, self._made(path))
        except OSError as error:
            if error.errno in _CANNOT_LINK:
                return False
            raise
        return True

    def write(self, path: PurePosixPath, data: bytes, mode: int = 0o444) -> None:
        """Make a file of these bytes, read-only unless ``mode`` says otherwise."""
        with os.fdopen(self._create(path, mode), "wb") as out:
            out.write(data)

    def settle(self, path: PurePosixPath) -> None:
        """Give a file of the tree its time; all other names of the same bytes have it too."""
        times = (FILE_TIME_NS, FILE_TIME_NS)
        if _BY_HANDLE:
            os.utime(path.name, ns=times, dir_fd=self._parent(path))
        else:
            os.utime(self._made(path), ns=times)

    def lead(self, path: PurePosixPath, folder: Path) -> None:
        """Let ``path``, where nothing is yet, be another name of ``folder``, outside the tree."""
        if _BY_HANDLE:
            os.symlink(folder, path.name, dir_fd=self._parent(path))
        else:
            self._made(path).symlink_to(folder, target_is_directory=True)

    def copy(self, source: Path, path: PurePosixPath) -> None:
        """Make a read-only copy of a file."""
        with source.open("rb") as data, os.fdopen(self._create(path), "wb") as out:
            shutil.copyfileobj(data, out, 1024 * 1024)

    def _create(self, path: PurePosixPath, mode: int = 0o444) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        if _BY_HANDLE:
            return os.open(path.name, flags | os.O_NOFOLLOW, mode, dir_fd=self._parent(path))
        return os.open(self._made(path), flags, mode)

    def _made(self, path: PurePosixPath) -> Path:
        target = self._folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def _parent(self, path: PurePosixPath) -> int:
        """Handle of the folder a file goes into, made where it is not there yet."""
        parts = path.parts[:-1]
        depth = 0
        while (
            depth < len(parts)
            and depth + 1 < len(self._open)
            and self._open[depth + 1][0] == parts[depth]
        ):
            depth += 1
        while len(self._open) > depth + 1:
            os.close(self._open.pop()[1])
        for part in parts[depth:]:
            above = self._open[-1][1]
            # It may have been made for a file before; opening it refuses anything but a folder.
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o700, dir_fd=above)
            self._open.append((part, os.open(part, _FOLDER_FLAGS, dir_fd=above)))
        return self._open[-1][1]


_FOLDER_FLAGS = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
