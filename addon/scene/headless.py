"""Pack a scene without a window: the script that the command line runs in a Blender of its own.

Run as ``blender -b SCENE.blend --python headless.py -- PARAMS.json`` or, where the bpy module
serves as Blender, as ``python headless.py PARAMS.json``. It needs nothing but Blender: the
`rendermill` package is loaded from where this file lies.

PARAMS.json is an object with the keys of `Params`; ``result`` names the file for the answer, see
`main`. Whatever goes wrong becomes one sentence there and exit code 1.
"""

from __future__ import annotations

import ctypes
import dataclasses
import enum
import importlib.util
import json
import os
import signal
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import bpy

PACKAGE = "rendermill"


class ParamsError(ValueError):
    """The parameters cannot be used; the message says which and why."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """What to pack. Unknown keys in PARAMS.json are refused."""

    blend: str
    """Absolute path of the .blend; opened unless Blender has it open already."""
    folder: str
    """Folder for the snapshot; made if absent."""
    result: str
    """File to write the answer into."""
    scene: str = ""
    """Name of the scene; '': the one the file was saved with."""
    kind: str = "animation"
    frames: str = ""
    """Range in the grammar of `protocol.frames`; '': the scene's own."""
    output: str = ""
    """Replaces the scene's output path, as Blender's ``-o`` does; '': the scene's own."""
    name: str = ""
    submitter: str = ""
    priority: int = 50
    order: str = "forward"
    trust: bool = False
    """Let Python in the .blend run here too: properties made by scripts may name files."""
    tags: tuple[str, ...] = ()
    film_frames: bool = False
    """Of a film, bring the frames too."""
    inspect: bool = False
    """Look at every scene of the file and copy nothing: see `inspect`."""
    client: int = 0
    """Process that started this Blender and without which the answer is of no use; 0: nobody."""


def captured_to_json(captured: Any) -> dict[str, Any]:
    """Return a `CapturedScene` as plain data for JSON.

    The shape is that of the dataclasses: ``spec`` as `protocol.codec.from_plain` reads a
    `JobSpec`; ``files`` a list of ``{"source": absolute path, "path": place in the tree}``;
    ``missing`` a list of ``{"source", "user"}``; ``warnings`` a list of sentences; ``scratch`` a
    path or null. Enums are their values, paths text, tuples lists.
    """
    return _plain(captured)


def findings_to_json(findings: Any) -> list[dict[str, str]]:
    """Return findings of `checks` as plain data: severity, what, why, fix."""
    told = ("severity", "what", "why", "fix")
    return [{name: _plain(getattr(finding, name)) for name in told} for finding in findings]


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = (field.name for field in dataclasses.fields(value))
        return {name: _plain(getattr(value, name)) for name in names}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def read_params(path: Path) -> Params:
    """Return the parameters in a JSON file. Raises `ParamsError`."""
    try:
        plain = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ParamsError(f"The parameters in {path} cannot be read: {error}.") from error
    if not isinstance(plain, dict):
        raise ParamsError(f"The parameters in {path} are no JSON object.")
    fields = {field.name: field for field in dataclasses.fields(Params)}
    unknown = sorted(plain.keys() - fields.keys())
    if unknown:
        raise ParamsError(f"There is no parameter {unknown[0]!r}.")
    for name, field in fields.items():
        if field.default is dataclasses.MISSING and not plain.get(name):
            raise ParamsError(f"The parameter {name!r} is missing.")
    return Params(**{**plain, "tags": tuple(plain.get("tags", ()))})


def pack(params: Params) -> dict[str, Any]:
    """Open, check, copy and capture; return the answer for the result file.

    ``{"captured": see captured_to_json, "findings": see findings_to_json}``. Raises `ParamsError`,
    and what `capture`, `save_snapshot` and `parse_frames` raise.
    """
    package = load_package()
    scene_of = importlib.import_module(f"{package}.addon.scene.capture")
    snapshot = importlib.import_module(f"{package}.addon.scene.snapshot")
    checks = importlib.import_module(f"{package}.addon.scene.checks")
    job = importlib.import_module(f"{package}.protocol.job")
    _open(params)
    scene = _find_scene(params)
    if params.output:
        scene.render.filepath = params.output
    kind = _choice(job.JobKind, params.kind, "kind")
    # A range that cannot be is said before gigabytes are copied.
    scene_of.frame_numbers(scene, kind, params.frames)
    copy = snapshot.save_snapshot(Path(params.folder))
    captured = scene_of.capture(
        scene,
        kind=kind,
        frames=params.frames,
        snapshot=copy,
        name=params.name,
        priority=params.priority,
        order=_choice(job.FrameOrder, params.order, "order"),
        trust_scripts=params.trust,
        film_frames=params.film_frames,
        tags=params.tags,
        submitter=params.submitter,
    )
    return {
        "captured": captured_to_json(captured),
        "findings": findings_to_json(checks.check(scene, captured)),
    }


def inspect(params: Params) -> dict[str, Any]:
    """Open and capture every scene as it lies; return the answer for the result file.

    ``{"scene": the one the file was saved with, "scenes": [{"captured", "findings"} as from
    `pack`, with "ids", what kind of finding each is]}``. A scene that cannot become a job has
    ``{"name", "error": sentence}`` instead.
    """
    package = load_package()
    scene_of = importlib.import_module(f"{package}.addon.scene.capture")
    checks = importlib.import_module(f"{package}.addon.scene.checks")
    job = importlib.import_module(f"{package}.protocol.job")
    _open(params)
    answers: list[dict[str, Any]] = []
    for scene in bpy.data.scenes:
        try:
            # The file itself travels, as it lies: opening it may count as a change to it.
            captured = scene_of.capture(
                scene, kind=job.JobKind.ANIMATION, snapshot=Path(params.blend)
            )
            # Where the artist's frames would go is nothing of this machine: any folder that can
            # be written to stands for it.
            outputs = tuple(
                dataclasses.replace(root, folder=params.folder) for root in captured.spec.outputs
            )
            spec = dataclasses.replace(captured.spec, outputs=outputs)
            findings = checks.check(scene, dataclasses.replace(captured, spec=spec))
        except ValueError as error:
            answers.append({"name": scene.name, "error": str(error)})
            continue
        answers.append(
            {
                "captured": captured_to_json(captured),
                "findings": findings_to_json(findings),
                "ids": [finding.id for finding in findings],
            }
        )
    saved_with: Any = bpy.context.scene
    return {"scene": saved_with.name, "scenes": answers}


def _choice(choices: Any, text: str, what: str) -> Any:
    try:
        return choices(text)
    except ValueError:
        names = ", ".join(choice.value for choice in choices)
        raise ParamsError(f"There is no {what} {text!r}; choose one of {names}.") from None


def _open(params: Params) -> None:
    wanted = Path(params.blend)
    if not wanted.is_file():
        raise ParamsError(f"There is no file {wanted}.")
    already = bpy.data.filepath and Path(bpy.data.filepath).resolve() == wanted.resolve()
    if already:
        return
    try:
        bpy.ops.wm.open_mainfile(
            filepath=os.path.abspath(wanted), load_ui=False, use_scripts=params.trust
        )
    except RuntimeError as error:
        reason = str(error).replace("Error:", " ").split("\n")[0].strip().rstrip(".")
        raise ParamsError(
            f"Blender {bpy.app.version_string} cannot open {wanted}: {reason}."
        ) from error


def _find_scene(params: Params) -> Any:
    if not params.scene:
        return bpy.context.scene
    scene = bpy.data.scenes.get(params.scene)
    if scene is None:
        names = ", ".join(f'"{item.name}"' for item in bpy.data.scenes)
        raise ParamsError(f'There is no scene "{params.scene}" in {params.blend}; it has {names}.')
    return scene


def load_package() -> str:
    """Make the package that this file belongs to importable; return its name."""
    if __package__:  # imported as a part of it
        return __package__.removesuffix(".addon.scene")
    root = Path(__file__).resolve().parents[2]
    present: ModuleType | None = sys.modules.get(PACKAGE)
    if present is not None and root in {Path(item).resolve() for item in present.__path__}:
        return PACKAGE
    # By location, not by sys.path: an installed one may be another version, and the folder may
    # have any name.
    spec = importlib.util.spec_from_file_location(
        PACKAGE, root / "__init__.py", submodule_search_locations=[str(root)]
    )
    if spec is None or spec.loader is None:
        raise ParamsError(f"The package {PACKAGE} is incomplete: {root} has no __init__.py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = module
    spec.loader.exec_module(module)
    return PACKAGE


def main(arguments: list[str]) -> int:
    """Pack as the parameters file says; write the result file; return the exit code.

    The result is ``{"captured": ..., "findings": [...]}`` (see `pack`) or ``{"error": sentence}``.
    """
    if len(arguments) != 1:
        sys.stderr.write("usage: headless.py PARAMS.json\n")
        return 2
    try:
        params = read_params(Path(arguments[0]))
    except ParamsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    _end_with(params.client)
    try:
        answer = inspect(params) if params.inspect else pack(params)
    except Exception as error:  # noqa: BLE001 - the process ends here; whoever started it reads the sentence
        known = isinstance(error, ValueError | RuntimeError | OSError)
        answer = {"error": str(error) if known else f"{type(error).__name__}: {error}"}
        sys.excepthook(type(error), error, error.__traceback__)
    result = Path(params.result)
    part = result.with_name(result.name + ".part")
    part.write_text(json.dumps(answer, ensure_ascii=False), "utf-8", "surrogateescape")
    part.replace(result)
    return 1 if "error" in answer else 0


def _end_with(client: int) -> None:
    """Let the kernel end this process with the one that started it, where it can.

    Else a client that was killed would leave a Blender that goes on to write a copy of the scene.
    """
    if sys.platform == "linux" and client and os.getppid() == client:
        set_parent_death_signal = 1  # PR_SET_PDEATHSIG of prctl(2)
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


def _arguments() -> list[str]:
    """Return what stands after ``--`` in a Blender's command line, all of a Python's."""
    if "--" in sys.argv:
        return sys.argv[sys.argv.index("--") + 1 :]
    return sys.argv[1:]


if __name__ == "__main__":
    code = main(_arguments())
    sys.stdout.flush()
    sys.stderr.flush()
    # Blender as a module may crash or hang while it shuts down, after all work is done.
    os._exit(code)
