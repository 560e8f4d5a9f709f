"""Entry: serves the node, or renders frames by itself when a person runs the script.

Session: orders come as JSON lines on standard input, one at a time; each is answered by exactly
one ``done`` or ``failed``. Stand-alone: ``PARAMS.json`` holds ``spec``, ``workspace``, ``output``
and ``frames``.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import Any

import bpy

from .encode import encode_film
from .frame import render_frame
from .reply import Channel
from .scene import OpenJob, Refused, sentence


def main(params: dict[str, Any]) -> int:
    """Do what the parameters say; return the exit code."""
    if "token" in params:
        return Server(Channel(params["token"])).serve()
    return render_alone(params)


class Server:
    """Carries out the orders of a node, one after the other."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._job: OpenJob | None = None

    def serve(self) -> int:
        """Answer orders until the node says ``close`` or goes away."""
        self._channel.beat()
        self._channel.send("ready", version=list(bpy.app.version), pid=os.getpid())
        for line in iter(sys.stdin.buffer.readline, b""):
            order = json.loads(line)
            if order["do"] == "close":
                self._channel.send("done", id=order["id"])
                return 0
            self._answer(order)
        return 0

    def _answer(self, order: dict[str, Any]) -> None:
        try:
            answer = self._carry_out(order)
        except Refused as error:
            self._fail(order, error.kind, str(error))
        except MemoryError:
            self._fail(order, "memory", "Blender ran out of memory.")
        except Exception as error:  # noqa: BLE001 - whatever it was, the node must be told
            traceback.print_exc()
            where = f"{type(error).__name__}: {sentence(error)}"
            self._fail(order, "scene", f"Python failed inside Blender: {where}")
        else:
            _flush()
            self._channel.send("done", id=order["id"], **answer)

    def _fail(self, order: dict[str, Any], failure: str, reason: str) -> None:
        _flush()
        self._channel.send("failed", id=order["id"], failure=failure, reason=reason)

    def _carry_out(self, order: dict[str, Any]) -> dict[str, Any]:
        if order["do"] == "open":
            self._job = None
            self._job = OpenJob(order)
            return {
                "warnings": self._job.warnings,
                "size": list(self._job.size),
                "engine": self._job.scene.render.engine,
            }
        if order["do"] == "leave":
            self._job = None
            _empty()
            return {}
        if order["do"] == "render":
            if self._job is None:
                raise Refused("No scene is open.", "node")
            return render_frame(self._job, order["frame"], order["output"], self._report)
        if order["do"] == "encode":
            # The scene is opened anew for it, as a film, and cannot render frames afterwards.
            self._job = None
            job = OpenJob({**order, "film": True})
            with open(order["pictures"], encoding="utf-8") as file:
                pictures = [(frame, path) for frame, path in json.load(file)]
            answer = encode_film(job, pictures, order["output"], self._report)
            _empty()
            return answer
        raise Refused(f"Unknown order {order['do']!r}.", "node")

    def _report(self, fraction: float, text: str) -> None:
        self._channel.send("progress", fraction=fraction, text=text)


def render_alone(params: dict[str, Any]) -> int:
    """Render the frames of ``params`` and say where they are."""
    try:
        job = OpenJob(params)
        for warning in job.warnings:
            print("warning:", warning)
        for frame in params["frames"]:
            made = render_frame(job, frame, params["output"], lambda _fraction, text: print(text))
            for warning in made["warnings"]:
                print("warning:", warning)
            print(f"frame {frame}: {made['seconds']:.2f} s, in {params['output']}")
    except Refused as error:
        print("failed:", error)
        return 1
    return 0


def _empty() -> None:
    """Close the open file and free its memory."""
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True, load_ui=False)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
