"""Which of this node's Blenders renders a job: the same major and minor, and all it needs."""

from __future__ import annotations

from collections.abc import Iterable

from ..protocol.job import Device, Requirements
from ..protocol.machine import BlenderInfo


class NoBlender(Exception):
    """No Blender here can render the job; the sentence says what the nearest one lacks."""


def fitting_blender(blenders: Iterable[BlenderInfo], requires: Requirements) -> BlenderInfo:
    """Return the Blender for a job: the exact patch if there is one, else the newest patch.

    Raises `NoBlender`.
    """
    blenders = tuple(blenders)
    wanted = ".".join(map(str, requires.blender[:2]))
    alike = [info for info in blenders if info.version[:2] == requires.blender[:2]]
    if not alike:
        have = ", ".join(sorted({".".join(map(str, info.version)) for info in blenders}))
        raise NoBlender(
            f"The job needs Blender {wanted}; this node has {have or 'none'}. "
            f"Install Blender {wanted} on it, or name it with --blender."
        )
    able = [info for info in alike if not _lacks(info, requires)]
    if not able:
        info = alike[0]
        raise NoBlender(
            f"Blender {'.'.join(map(str, info.version))} on this node lacks "
            f"{', '.join(_lacks(info, requires))}."
        )
    return max(able, key=lambda info: (info.version == requires.blender, info.version))


def _lacks(info: BlenderInfo, requires: Requirements) -> list[str]:
    lacking: list[str] = []
    if requires.engine not in info.engines:
        lacking.append(f"the engine {requires.engine}")
    lacking += [
        capability.value
        for capability in requires.capabilities
        if capability not in info.capabilities
    ]
    if requires.device is Device.GPU and not info.gpus:
        lacking.append("a GPU that Cycles can use")
    return lacking
