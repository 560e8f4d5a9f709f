"""Work that would hold Blender up, done in a thread of its own; what comes of it is taken here.

    errands.begin(lambda: service.status(Member.NODE), then=show, failed=show_error)
    sizes = errands.start(lambda: measure(paths))  # ask `sizes.done()` now and then

``work`` runs in a daemon thread and must touch nothing of bpy. ``then`` and ``failed`` run in
Blender's main thread, from the pump's timer. Nothing is waited for, not even when Blender quits.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import TypeVar

T = TypeVar("T")
log = logging.getLogger(__name__)
_POLL_SECONDS = 0.02

_ended: SimpleQueue[tuple[int, Callable[[], None]]] = SimpleQueue()
_life = 0
_under_way = 0


def begin(
    work: Callable[[], T], then: Callable[[T], None], failed: Callable[[Exception], None]
) -> None:
    """Do ``work`` elsewhere; exactly one of the others is called with what came of it."""
    global _under_way  # noqa: PLW0603 - main thread only
    _under_way += 1
    life = _life

    def tell(done: Future[T]) -> None:
        error = done.exception()
        if isinstance(error, Exception):
            _ended.put((life, lambda: failed(error)))
        else:
            _ended.put((life, lambda: then(done.result())))

    start(work).add_done_callback(tell)


def start(work: Callable[[], T]) -> Future[T]:
    """Do ``work`` elsewhere, for a caller that looks by itself whether it is done."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - it is told to whoever asks
            future.set_exception(error)

    # Not a pool: one that waits for a drive that is gone must hold up no other, nor Blender's end.
    threading.Thread(target=run, name="rendermill-errand", daemon=True).start()
    return future


def drain() -> bool:
    """Take what has come back; whether anything had. Call it in the main thread."""
    global _under_way  # noqa: PLW0603
    any_ended = False
    while True:
        try:
            life, tell = _ended.get_nowait()
        except Empty:
            return any_ended
        if life != _life:
            continue  # Of an add-on that has been switched off since.
        _under_way -= 1
        any_ended = True
        try:
            tell()
        except Exception:
            log.exception("what came back of an errand could not be taken")


def wait() -> None:
    """Without a window no timer runs: stay until all has come back. Never call it in a window."""
    while are_under_way():
        if not drain():
            time.sleep(_POLL_SECONDS)


def are_under_way() -> bool:
    """Whether anything has not come back."""
    return _under_way > 0


def forget() -> None:
    """Nobody waits for those that are under way any more."""
    global _life, _under_way  # noqa: PLW0603
    _life += 1
    _under_way = 0
