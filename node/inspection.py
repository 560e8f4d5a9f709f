"""Looking at scenes that were uploaded with a browser: what the add-on would have said of them.

A throw-away Blender opens the scene with its scripts disabled, confined as for rendering, and runs
the add-on's own capture and checks. Chunks come from the cache of scenes, under a user of their
own, so that nothing here touches the tree of a job that renders.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..protocol.machine import BlenderInfo
from ..protocol.messages import Inspect, Inspected
from ..wire.threads import in_thread
from . import lost_files
from .blender import throwaway
from .cache import CacheError, ChunkCache, remove
from .scenes import Ask, SceneStore, SceneUnavailable

INSPECT_SECONDS = 180.0
"""Longest time for Blender to open and look at a scene."""
RESULT_MAX_BYTES = 64 * 1024 * 1024
ANSWER_MAX_BYTES = 512 * 1024
"""Of all that is told; a message may have twice that."""
LISTED_MAX = 100
"""Missing files, findings and warnings told for each scene."""
LOG_LINES = 3

_PACKAGE = Path(__file__).resolve().parents[1]
_HEADLESS = _PACKAGE / "addon" / "scene" / "headless.py"


class Inspection:
    """One node's looking at scenes, one at a time."""

    def __init__(
        self,
        ask: Ask,
        *,
        cache_folder: Path,
        cache_bytes: int,
        user: str,
        scratch: Path,
        level: str,
        blenders: Callable[[], Sequence[BlenderInfo]],
    ) -> None:
        self._ask = ask
        self._cache_folder = cache_folder
        self._cache_bytes = cache_bytes
        self._user = f"{user}-inspects"
        self._scratch = scratch
        self._level = level
        self._blenders = blenders
        self._is_busy = False

    async def inspect(self, order: Inspect) -> Inspected:
        """Return what is in a scene; whatever goes wrong is the answer's ``problem``."""
        if self._is_busy:
            return Inspected(id=order.id, problem="The node looks at another scene already.")
        self._is_busy = True
        try:
            return await self._inspect(order)
        except (SceneUnavailable, CacheError, OSError, ValueError) as error:
            return Inspected(id=order.id, problem=str(error))
        finally:
            self._is_busy = False

    async def _inspect(self, order: Inspect) -> Inspected:
        blender = next(
            (one for one in self._blenders() if one.version[:2] == tuple(order.blender)), None
        )
        if blender is None:
            version = ".".join(map(str, order.blender))
            return Inspected(id=order.id, problem=f"The node has no Blender {version} any more.")
        cache = await in_thread(ChunkCache, self._cache_folder, self._cache_bytes, self._user)
        scenes = SceneStore(cache, self._ask, lambda _manifest, _held: None)
        folder = await in_thread(throwaway.make_folder, self._scratch, "inspect-")
        try:
            tree = await scenes.ready(order.manifest)
            return await self._run(order, blender, tree, folder, cache.folder)
        finally:
            await in_thread(remove, folder)
            await scenes.close()
            await in_thread(cache.close)

    async def _run(
        self, order: Inspect, blender: BlenderInfo, tree: Path, folder: Path, cache: Path
    ) -> Inspected:
        result, arguments = folder / "result.json", folder / "headless.json"
        plain = {
            "blend": str(tree.joinpath(*order.blend.split("/"))),
            "folder": str(folder),
            "result": str(result),
            "inspect": True,
        }
        await in_thread(arguments.write_text, json.dumps(plain), "utf-8")
        ended = await throwaway.run_once(
            Path(blender.path),
            is_module=blender.is_module,
            modules=("inspect_scene",),
            parameters={"headless": str(_HEADLESS), "arguments": str(arguments)},
            folder=folder,
            scratch=self._scratch,
            seconds=INSPECT_SECONDS,
            readable=(cache, _PACKAGE),
            level=self._level,
        )
        if not result.exists() or result.stat().st_size > RESULT_MAX_BYTES:
            tail = " ".join(line.strip() for line in ended.log[-LOG_LINES:])[:500]
            problem = f"Blender {ended.how} over the scene. {tail}".strip()
            return Inspected(id=order.id, problem=problem)
        answer = json.loads(await in_thread(result.read_text, "utf-8", "replace"))
        if "error" in answer:
            return Inspected(id=order.id, problem=_without(str(answer["error"]), tree))
        return _told(order, answer, tree)


def _told(order: Inspect, answer: dict[str, Any], tree: Path) -> Inspected:
    told: list[dict[str, Any]] = []
    problems: list[str] = []
    for one in answer["scenes"]:
        if "error" in one:
            problems.append(f'The scene "{one["name"]}" cannot be submitted: {one["error"]}')
            continue
        captured = one["captured"]
        spec = captured["spec"]
        missing = captured["missing"] + lost_files.outside(captured["files"], tree)
        found = lost_files.findings(missing, tree) + [
            finding
            for finding, check in zip(one["findings"], one["ids"], strict=True)
            if check not in lost_files.REPLACED
        ]
        spec["blend"] = order.blend
        spec["roots"] = []
        # The folders are those of this node's tree. The artist's machine is not known here.
        spec["outputs"] = [root | {"folder": ""} for root in spec["outputs"]]
        if spec.get("film"):
            spec["film"]["folder"] = ""
        told.append(
            {
                "spec": spec,
                "findings": [
                    {name: _without(text, tree) for name, text in finding.items()}
                    for finding in found[:LISTED_MAX]
                ],
                "missing": [
                    f"{_without(item['source'], tree)} ({item['user']})"
                    for item in missing[:LISTED_MAX]
                ],
                "warnings": [_without(text, tree) for text in captured["warnings"][:LISTED_MAX]],
            }
        )
    if not told:
        return Inspected(id=order.id, problem=" ".join(problems)[:1000] or "It has no scene.")
    # The scene the file was saved with comes first.
    told.sort(key=lambda one: one["spec"]["scene"] != answer["scene"])
    text = json.dumps(told, ensure_ascii=False).encode("utf-8", "replace").decode()
    while len(text.encode()) > ANSWER_MAX_BYTES and len(told) > 1:
        told.pop()
        text = json.dumps(told, ensure_ascii=False).encode("utf-8", "replace").decode()
    if len(text.encode()) > ANSWER_MAX_BYTES:
        return Inspected(id=order.id, problem="What was found in the scene is too much to tell.")
    return Inspected(id=order.id, scenes=text)


def _without(text: str, tree: Path) -> str:
    """Return a text with paths of the tree as they are below the folder that was uploaded."""
    for spelled in {str(tree), os.path.realpath(tree)}:
        text = text.replace(f"{spelled}{os.sep}scene{os.sep}", "").replace(spelled, "")
    return text
