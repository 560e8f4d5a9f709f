"""The interpreter is made to hand on quickly, and is left as it was; no Blender needed."""

from __future__ import annotations

import gc
import sys

from rendermill.addon.ui import fluidity


def test_it_is_done_once_and_taken_back():
    interval, frozen = sys.getswitchinterval(), gc.get_freeze_count()
    for _ in range(2):
        fluidity.begin()
        try:
            assert sys.getswitchinterval() <= fluidity.SWITCH_SECONDS
            # What was there is not looked at again: that is what takes long.
            assert gc.get_freeze_count() > frozen + 1000
            fluidity.begin()
        finally:
            fluidity.end()
        assert sys.getswitchinterval() == interval
        assert gc.get_freeze_count() == 0
        fluidity.end()


def test_what_was_garbage_before_is_not_kept():
    class Cycle:
        ended = 0

        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            Cycle.ended += 1

    Cycle()
    fluidity.begin()
    fluidity.end()
    assert Cycle.ended == 1
