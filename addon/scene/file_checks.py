"""What is wrong with the files that a scene needs: gone, out of reach, or not to be named so."""

# ruff: noqa: ARG001 - every check takes the same two arguments, whichever it needs

from __future__ import annotations

import ntpath
import os
from collections.abc import Iterator
from typing import Any

import bpy

from ...protocol.manifest import path_problem
from ...protocol.scene import CapturedScene
from . import repairs
from .findings import Finding, Findings, Repair, Severity, count_of, listed
from .paths import all_of, is_windows_absolute, label_of, resolve
from .snapshot import relative_paths_without_base
from .steps import PAUSE, elsewhere

_MOUNTS = ("/Volumes", "/mnt", "/media", "/run/media", "/net")
"""Folders below which other drives appear; those of ``media`` have a folder for each user."""


def check_unsaved(scene: Any, captured: CapturedScene) -> Findings:
    """Paths relative to a file that has no place yet lead nowhere."""
    if bpy.data.filepath:
        return
    repair = repairs.save_file()
    found = False
    if scene.render.filepath.startswith("//"):
        found = True
        yield Finding(
            Severity.ERROR,
            "The file has never been saved, and its output path is relative to it.",
            f"The frames would go to {captured.spec.outputs[0].folder}.",
            "Save the file, or set an absolute output path.",
            id="unsaved",
            repair=repair,
        )
    if (yield from relative_paths_without_base()):
        found = True
        yield Finding(
            Severity.ERROR,
            "The file has never been saved, and it names other files relative to itself.",
            "They cannot be found.",
            "Save the file.",
            id="unsaved",
            repair=repair,
        )
    if not found:
        yield Finding(
            Severity.WARNING,
            "The file has never been saved.",
            "What is sent is a copy of it as it is now; there is no file to come back to when the "
            "frames are here.",
            "Save the file.",
            id="unsaved",
            repair=repair,
        )


def check_missing_files(scene: Any, captured: CapturedScene) -> Findings:
    """Files that the scene names and that are not here."""
    away: dict[str, list[str]] = {}
    gone: dict[str, list[str]] = {}
    dead_links: set[str] = set()

    def look() -> list[tuple[str, bool, bool]]:
        seen: list[tuple[str, bool, bool]] = []
        for missing in captured.missing:
            path = str(missing.source)
            drive = unreachable_drive(path)
            is_folder = not drive and os.path.isdir(path)
            seen.append((drive, is_folder or (not drive and os.path.isfile(path)), is_folder))
            if not drive and os.path.lexists(path):
                dead_links.add(path)
        return seen

    seen = yield from elsewhere(look)
    for missing, (drive, is_here, is_folder) in zip(captured.missing, seen, strict=True):
        path = str(missing.source)
        if drive:
            away.setdefault(drive, []).append(f"{missing.user} ({path})")
        elif is_here:
            yield from _not_sent(missing.user, path, is_folder=is_folder)
        else:
            gone.setdefault(missing.user, []).append(path)
    yield from _gone(gone, dead_links)
    for drive, users in away.items():
        files = count_of(len(users), "file lies", "files lie")
        yield Finding(
            Severity.ERROR,
            f"{files} on {drive}, which cannot be reached from here: {listed(users)}.",
            "Only what this computer can read travels to the farm.",
            "Connect the drive, or let the paths lead to a copy.",
            id="unreachable_drive",
            repair=repairs.find_files(),
        )


def _gone(gone: dict[str, list[str]], dead_links: set[str]) -> Findings:
    """Say which files are not there, by user; ``dead_links`` are links to nothing."""
    libraries = {user: paths for user, paths in gone.items() if user.startswith("Library ")}
    others = {user: paths for user, paths in gone.items() if user not in libraries}
    for user, paths in libraries.items():
        yield Finding(
            Severity.ERROR,
            _gone_from(user, paths, dead_links),
            "Everything linked from it is missing.",
            "Relocate the library in the Blender File view of the Outliner.",
            id="missing_file",
        )
    # A folder that was moved takes many with it, and must not push all else out of sight.
    if len(others) > 1:
        count = sum(len(paths) for paths in others.values())
        names = [f"{paths[0]} ({user})" for user, paths in others.items()]
        sentences = [f"{count} files of the scene do not exist: {listed(names)}."]
    else:
        sentences = [_gone_from(user, paths, dead_links) for user, paths in others.items()]
    for sentence in sentences:
        yield Finding(
            Severity.ERROR,
            sentence,
            "What is missing here is missing on the farm too.",
            "Use File > External Data > Find Missing Files.",
            id="missing_file",
            repair=repairs.find_files(),
        )


def _gone_from(user: str, paths: list[str], dead_links: set[str]) -> str:
    if len(paths) > 1:
        return f"{user} needs {len(paths)} files that do not exist: {listed(paths)}."
    if paths[0] in dead_links:
        return f"{user} needs {paths[0]}, a link that leads nowhere."
    return f"{user} needs {paths[0]}, which does not exist."


def unreachable_drive(path: str) -> str:
    """Return the drive, share or mount of an absolute path that is not here; '' where it is."""
    if is_windows_absolute(path):
        drive = ntpath.splitdrive(path)[0]
        if os.name == "nt" and os.path.isdir(drive + "\\"):
            return ""
        return drive
    # What a Blender of Linux or macOS makes of a drive of Windows when it saves paths relative.
    if (drive := path[1:3]) and is_windows_absolute(path[1:4]) and not os.path.isdir("/" + drive):
        return drive
    parts = path.split("/")
    for mounts in _MOUNTS:
        depth = mounts.count("/") + 1
        if not path.startswith(mounts + "/") or os.path.ismount(mounts):
            continue
        # On a Linux desktop a folder of the user stands between.
        depth += mounts.endswith("/media") and os.path.isdir("/".join(parts[: depth + 1]))
        drive = "/".join(parts[: depth + 1])
        if len(parts) > depth + 1 and not os.path.isdir(drive):
            return drive
    return ""


def _not_sent(user: str, path: str, *, is_folder: bool) -> Findings:
    """Say why a file that is here does not travel: its name."""
    name = os.path.basename(path) if not path_problem(os.path.dirname(path)) else path
    reason = path_problem(path)
    repair: Repair | None = repairs.pack_file(path)
    if reason:
        yield Finding(
            Severity.ERROR,
            f"{user} needs {name!r}, which cannot be created on every node: {reason}.",
            "A node may run Windows, macOS or Linux, so a name must do for all of them.",
            "Rename it" + (", or pack it into the file." if repair else "."),
            id="forbidden_name",
            repair=repair,
        )
        return
    if is_folder:
        yield Finding(
            Severity.ERROR,
            f"{user} needs a file, and {path} is a folder.",
            "It would be missing on the farm too.",
            "Choose the file.",
            id="missing_file",
        )
        return
    yield Finding(
        Severity.ERROR,
        f"{user} needs {path}, and another file of the scene has the same name in other letters.",
        "Windows and macOS take both names for one file, so only the other one is sent.",
        "Rename one of them" + (", or pack it into the file." if repair else "."),
        id="same_name",
        repair=repair,
    )


def check_missing_data(scene: Any, captured: CapturedScene) -> Findings:
    """Datablocks that a library no longer has."""
    if not bpy.data.libraries:
        return
    absent = {str(missing.source) for missing in captured.missing}
    for item in _data_blocks():
        yield PAUSE
        # Of a library that is missing itself, one finding says it all.
        library: Any = item.library
        if library is None or not item.is_missing or resolve(library.filepath) in absent:
            continue
        yield Finding(
            Severity.ERROR,
            f"{label_of(item)} is not in its library {library.filepath} any more.",
            "It is an empty placeholder.",
            "Link it again, or give it back its name in the library.",
            id="missing_data",
        )


def _data_blocks() -> Iterator[Any]:
    kinds: Any = bpy.data.bl_rna.properties
    for kind in kinds:
        # One of all kinds together came with 5.2.
        if kind.type == "COLLECTION" and kind.fixed_type.identifier != "ID":
            yield from all_of(getattr(bpy.data, kind.identifier))


def check_changed_images(scene: Any, captured: CapturedScene) -> Findings:
    """Painted pixels live in memory only, and Blender does not save them with the file."""
    changed = repairs.changed_images()
    if changed:
        yield Finding(
            Severity.ERROR,
            f"{count_of(len(changed), 'image has', 'images have')} changes that are not saved: "
            f"{listed([item.name for item in changed])}.",
            "Saving a .blend saves none of them, so the farm would render without them.",
            "Use Save All Images in the Image menu of an Image Editor, or pack them.",
            id="changed_images",
            repair=repairs.save_images(),
        )


def check_readable(scene: Any, captured: CapturedScene) -> Findings:
    """Files that are here and may not be read."""
    blend = captured.files[0].source if captured.files else None

    def look() -> list[str]:
        return [
            str(file.source)
            for file in captured.files
            if file.source != blend and not os.access(file.source, os.R_OK)
        ]

    locked = yield from elsewhere(look)
    if locked:
        yield Finding(
            Severity.ERROR,
            f"{count_of(len(locked), 'file', 'files')} of the scene cannot be read: "
            f"{listed(locked)}.",
            "What cannot be read here cannot be sent.",
            "Ask for the right to read it, or use a copy.",
            id="unreadable_file",
        )
