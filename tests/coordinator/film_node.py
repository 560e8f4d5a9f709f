"""A node that paints pictures and makes a film of them, over the real protocol."""

from __future__ import annotations

from dataclasses import replace

from rendermill.protocol.frames import FILM_FRAME
from rendermill.protocol.job import Capability, Film, Requirements
from rendermill.protocol.messages import (
    Assign,
    FrameAccepted,
    FrameDone,
    FrameRef,
    FrameRefused,
    FrameStarted,
)

from .conftest import MACHINE, FakeNode

FILM = Film(name="shot_0001-0003.mp4", folder="/home/ada/out", fps=24.0)
REQUIRES = Requirements(blender=(4, 5, 15), engine="CYCLES", capabilities=(Capability.FFMPEG,))
CAN_ENCODE = replace(
    MACHINE, blenders=(replace(MACHINE.blenders[0], capabilities=(Capability.FFMPEG,)),)
)


def film_of(ref: FrameRef) -> bytes:
    """Another film for each generation."""
    return b"the film, generation %d" % ref.generation


async def film_done(node: FakeNode, ref: FrameRef, name: str = FILM.name) -> FrameDone:
    """What a node says of a film whose bytes are on the coordinator."""
    return replace(await node.done(ref, film_of(ref), name), thumbnail="")


async def work(node: FakeNode, *, name: str = FILM.name, stop_at_film: bool = False) -> FrameRef:
    """Do all that is assigned until the film is accepted (or assigned); return its lease."""
    while True:
        match await node.receive():
            case Assign(frames=frames):
                for ref in frames:
                    await node.send(FrameStarted(frame=ref))
                    if ref.frame != FILM_FRAME:
                        await node.send(await node.done(ref))
                    elif stop_at_film:
                        return ref
                    else:
                        await node.send(await film_done(node, ref, name))
            case FrameAccepted(frame=ref) if ref.frame == FILM_FRAME:
                return ref
            case FrameRefused() as refusal:
                raise AssertionError(refusal)
            case _:
                pass
