"""The file tree of a scene, as its artist's machine has it below the scene's roots.

Files are second names (hard links) of what the cache holds, read-only, so a tree costs no bytes
and next to no time; where the disk cannot link, they are copies. A file of several chunks is put
together once and kept by its content. The .blend keeps its name and every file its place, because
Blender's disk caches hang on both.

Nothing is followed on the way: paths are checked again, and folders are opened one by one under
the handle of the one above, never through a link.
"""

from __future__ import annotations

import contextlib
import errno
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

_BY_HANDLE = os.open in os.supports_dir_fd and os.link in os.supports_dir_fd
"""Windows has no folder handles here; there the tree is new, private and made by us alone."""


def build_tree(manifest: Manifest, cache: ChunkCache, folder: Path) -> None:
    """Make the tree of ``manifest`` as ``folder``, which must not exist; whole or not at all.

    Blocks. Raises `ChunkMissing` for a chunk to fetch (again), `CacheFull`, `CacheError`.
    """
    remove(folder)
    try:
        folder.mkdir(mode=0o700)
        tree = _Tree(folder)
        try:
            for file in manifest.files:
                _place(file, cache, tree)
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

    def write(self, path: PurePosixPath, data: bytes) -> None:
        """Make a read-only file of these bytes."""
        with os.fdopen(self._create(path), "wb") as out:
            out.write(data)

    def copy(self, source: Path, path: PurePosixPath) -> None:
        """Make a read-only copy of a file."""
        with source.open("rb") as data, os.fdopen(self._create(path), "wb") as out:
            shutil.copyfileobj(data, out, 1024 * 1024)

    def _create(self, path: PurePosixPath) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        if _BY_HANDLE:
            return os.open(path.name, flags | os.O_NOFOLLOW, 0o444, dir_fd=self._parent(path))
        return os.open(self._made(path), flags, 0o444)

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
