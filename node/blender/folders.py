"""The folders that a session's Blender reads and writes: named safely, then looked through."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ...protocol.job import JobSpec
from ...protocol.manifest import ManifestError, check_path
from ...protocol.messages import FailureKind
from . import checks
from .attempt import AttemptFailed, RenderedFile

_ROOT_ID = re.compile(r"[a-z][a-z0-9_]{0,31}")


_BUILT_IN_COLOURS = re.compile(r"ocio://[\w.+-]{1,100}")
"""Configurations that OpenColorIO itself brings along."""


def check_names(spec: JobSpec) -> None:
    """Refuse names that lead out of the folders they belong to; a submitter may write anything."""
    try:
        for path in (spec.blend, *(root.path for root in spec.roots)):
            check_path(path)
        if spec.colour_configuration and not _BUILT_IN_COLOURS.fullmatch(spec.colour_configuration):
            check_path(spec.colour_configuration)
    except ManifestError as error:
        raise AttemptFailed(FailureKind.SCENE, str(error)) from error
    for root in spec.outputs:
        if not _ROOT_ID.fullmatch(root.id):
            raise AttemptFailed(FailureKind.SCENE, f"{root.id!r} is no name for an output folder.")
        parts = root.name.split("/")
        if ".." in parts or any("\\" in part or "\0" in part for part in parts):
            raise AttemptFailed(
                FailureKind.SCENE, f'The output name "{root.name}" leads out of its folder.'
            )


def colour_variables(spec: JobSpec, workspace: Path) -> dict[str, str]:
    """Return the variables with which Blender takes the job's colour configuration.

    Raises `AttemptFailed` (SCENE) for one that is not among the files of the job.
    """
    name = spec.colour_configuration
    if not name or _BUILT_IN_COLOURS.fullmatch(name):
        return {"OCIO": name} if name else {}
    path = workspace / name
    if not path.is_file():
        raise AttemptFailed(
            FailureKind.SCENE, f"The colour configuration {name!r} did not come with the job."
        )
    return {"OCIO": str(path)}


def make_below(scratch: Path, output: Path) -> Path:
    """Make a folder and return it without links. ValueError when it is not below ``scratch``."""
    output = output.resolve()
    if not output.is_relative_to(scratch):
        raise ValueError(f"{output} does not lie below {scratch}.")
    output.mkdir(parents=True, exist_ok=True)
    return output


def gather(
    spec: JobSpec, output: Path, answer: dict[str, Any]
) -> tuple[tuple[RenderedFile, ...], Path | None, Path | None]:
    """Check the files of a frame, make its thumbnail and find its preview; for a thread."""
    files = checks.collect(
        output,
        spec.outputs,
        spec.image,
        silent=frozenset(answer["silent"]),
        stereo_3d=bool(answer["stereo_3d"]),
    )
    main = next((file.source for file in files if file.root == "main"), None)
    shown = Path(answer["thumbnail"]) if answer["thumbnail"] else main
    if shown is None:
        return files, None, None
    thumbnail = checks.make_thumbnail(shown, output / "small.jpg")
    # What makes no thumbnail could not be shown at full size either.
    is_preview = bool(answer["thumbnail"]) and thumbnail is not None
    return files, thumbnail, shown if is_preview else None


def film_file(folder: Path, path: str) -> Path | None:
    """Return the film that Blender says it made right in ``folder``; None where there is none."""
    film = Path(path).resolve()
    return film if film.parent == folder and film.is_file() else None
