"""Old addresses of a .blend and the new numbers for them, looked up in bulk.

Where Blender looks for an address decides where one number may stand for two things: data-blocks
are known in the whole file, the ``DATA`` blocks behind a data-block only to it (its *scope*).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .blend_columns import Column

Numbers = NDArray[np.uint64]


class AddressBook:
    """Addresses and what they mean. Rows of ``DATA`` blocks come in the order of the file.

    No address of the two tables is 0.
    """

    def __init__(
        self,
        ids: tuple[Numbers, Numbers],
        data: tuple[Numbers, Column, Numbers],
        scopes: int,
    ) -> None:
        """Enter data-blocks (address, number) and ``DATA`` blocks (address, scope, number)."""
        self._scopes = scopes
        addresses, numbers = ids
        order = np.argsort(addresses, kind="stable")
        # Of several with one address the last counts, which is then frozen anyway.
        is_last = begins_run(addresses[order][::-1])[::-1]
        self._ids = addresses[order][is_last]
        self._id_numbers = numbers[order][is_last]
        frozen = [np.zeros(1, np.uint64), _repeated(addresses)]

        addresses, scope, numbers = data
        order = np.argsort(addresses, kind="stable")
        addresses, scope, numbers = addresses[order], scope[order], numbers[order]
        is_first = begins_run(addresses)
        self._elsewhere = addresses[is_first]
        """Addresses of DATA blocks. As seen from outside their scope Blender finds nothing there,
        and finds the same nothing from everywhere: the number of the first."""
        self._elsewhere_numbers = numbers[is_first]
        # Sorted already: by address, and rows of one address by scope, for so they were entered.
        self._in_scope = (np.cumsum(is_first) - 1) * scopes + scope
        is_new = begins_run(self._in_scope)
        self._in_scope, self._in_scope_numbers = self._in_scope[is_new], numbers[is_new]
        self._is_shared = (
            np.bincount(self._in_scope // max(1, scopes), minlength=len(self._elsewhere)) > 1
        )
        """Which addresses are in several scopes."""
        frozen.append(np.intersect1d(self._ids, self._elsewhere, assume_unique=True))
        self._frozen: Numbers = np.unique(np.concatenate(frozen))

    def freeze(self, addresses: Numbers) -> None:
        """Let addresses keep their number everywhere."""
        self._frozen = np.union1d(self._frozen, addresses)

    def know(self, words: Numbers) -> NDArray[np.bool_]:
        """Return which words are addresses of blocks."""
        return _found(self._ids, words)[1] | _found(self._elsewhere, words)[1]

    def is_frozen(self, words: Numbers) -> NDArray[np.bool_]:
        """Return which words keep their number, whatever they mean."""
        return _found(self._frozen, words)[1]

    def look_up(self, words: Numbers, scopes: Column) -> Numbers:
        """Return the new number of each word as seen from a scope; 0 where it is no address.

        Whether it is frozen does not count here.
        """
        numbers = np.zeros(len(words), np.uint64)
        at, is_elsewhere = _found(self._elsewhere, words)
        numbers[is_elsewhere] = self._elsewhere_numbers[at[is_elsewhere]]
        several = np.flatnonzero(is_elsewhere)
        several = several[self._is_shared[at[several]]]
        if len(several):
            here, is_here = _found(self._in_scope, at[several] * self._scopes + scopes[several])
            numbers[several[is_here]] = self._in_scope_numbers[here[is_here]]
        others = np.flatnonzero(~is_elsewhere)
        at, is_id = _found(self._ids, words[others])
        numbers[others[is_id]] = self._id_numbers[at[is_id]]
        return numbers


def _found(
    ascending: NDArray[np.uint64] | Column, wanted: NDArray[np.uint64] | Column
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Return where each is, or would be, and whether it is there."""
    if not len(ascending):
        return np.zeros(len(wanted), np.intp), np.zeros(len(wanted), np.bool_)
    is_there = (wanted >= ascending[0]) & (wanted <= ascending[-1])
    at = np.zeros(len(wanted), np.intp)
    # Most words of a file lie outside the range of its addresses: they need no search.
    likely = np.flatnonzero(is_there)
    at[likely] = np.searchsorted(ascending, wanted[likely])
    is_there[likely] = ascending[at[likely]] == wanted[likely]
    return at, is_there


def begins_run(values: NDArray[np.uint64] | Column) -> NDArray[np.bool_]:
    """Return which values differ from the one before them; the first does."""
    begins = np.ones(len(values), np.bool_)
    begins[1:] = values[1:] != values[:-1]
    return begins


def _repeated(values: Numbers) -> Numbers:
    unique, counts = np.unique(values, return_counts=True)
    return unique[counts > 1]
