"""Folders read once: a sequence of 10,000 frames costs one listing, not 10,000 questions."""

from __future__ import annotations

import os


class Listings:
    """What the folders hold that were asked for so far, as they were then."""

    def __init__(self) -> None:
        self._names: dict[str, frozenset[str]] = {}

    def names(self, folder: str) -> frozenset[str]:
        """Names of the files in a folder, of none when it cannot be read."""
        if folder not in self._names:
            try:
                with os.scandir(folder) as entries:
                    self._names[folder] = frozenset(e.name for e in entries if e.is_file())
            except OSError:
                self._names[folder] = frozenset()
        return self._names[folder]

    def has(self, path: str) -> bool:
        """Whether a file exists; asks the system where the listing knows another spelling."""
        folder, name = os.path.split(path)
        return name in self.names(folder) or os.path.isfile(path)
