"""Packing goes in short steps, asks no disk in Blender's main thread, and leaves nothing behind."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rendermill.addon.client import artist
from rendermill.addon.ui import packing as packing_module
from rendermill.addon.ui import survey
from rendermill.addon.ui.packing import Packing, PackingRefused, Step
from rendermill.protocol.job import JobKind

pytestmark = pytest.mark.bpy

bpy: Any = importlib.import_module("bpy")
"""The stubs know one version of Blender, these tests run in all."""

PATIENCE_SECONDS = 60.0


def packing_of(scene: Any, *, copies: bool = True) -> Packing:
    return Packing(
        scene=scene,
        kind=JobKind.ANIMATION,
        options={},
        send_anyway=True,
        snapshots=artist.snapshots_dir(),
        copies=copies,
    )


def left_behind() -> list[Path]:
    return list(artist.snapshots_dir().glob("*"))


def session() -> tuple[Any, ...]:
    """What an artist would notice: the file, whether it is saved, what is selected and active."""
    view: Any = bpy.context.view_layer
    return (
        bpy.data.filepath,
        bpy.data.is_dirty,
        sorted(item.name for item in view.objects if item.select_get()),
        view.objects.active and view.objects.active.name,
        bpy.context.scene.frame_current,
        bpy.context.preferences.is_dirty,
        bpy.context.preferences.filepaths.file_preview_type,
        bpy.data.use_autopack,
    )


class Drive:
    """A folder whose every look is noted; while `stalls` is set, none comes to an end."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.threads: list[str] = []
        """Names of those who looked."""
        self.answers = threading.Event()
        self.answers.set()
        self.asked = threading.Event()
        folder.mkdir()
        for name in ("stat", "lstat", "access", "scandir", "listdir"):
            patch.setattr(os, name, self._noted(getattr(os, name)))

    def _noted(self, look: Callable[..., Any]) -> Callable[..., Any]:
        def noted(path: Any = ".", *args: Any, **kwargs: Any) -> Any:
            if not isinstance(path, int) and os.fspath(path).startswith(str(self.folder)):
                self.threads.append(threading.current_thread().name)
                self.asked.set()
                if not self.answers.wait(PATIENCE_SECONDS):
                    raise TimeoutError("the test has forgotten its drive")
            return look(path, *args, **kwargs)

        return noted


@pytest.fixture
def drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Drive]:
    made = Drive(tmp_path / "drive", monkeypatch)
    yield made
    made.answers.set()


@pytest.fixture
def scene(small_scene: Callable[..., Any], drive: Drive) -> Any:
    """A scene with pictures, an output and a cache of particles on the drive."""
    made = small_scene(frames=4)
    for number in range(3):
        path = drive.folder / f"wood_{number}.png"
        if number:
            path.write_bytes(b"a picture")
        image = bpy.data.images.new(path.stem, 4, 4)
        image.source, image.filepath, image.use_fake_user = "FILE", str(path), True
    made.render.filepath = f"{drive.folder}/render/shot_###"
    made.render.use_overwrite = False
    cube = bpy.data.objects["Cube"]
    cube.modifiers.new("Dust", "PARTICLE_SYSTEM")
    cache = cube.particle_systems[0].point_cache
    cache.use_external, cache.filepath = True, str(drive.folder)
    bpy.ops.wm.save_mainfile()
    drive.threads.clear()
    return made


def test_no_disk_is_asked_in_the_main_thread(scene: Any, drive: Drive):
    packing = packing_of(scene)
    packing.run()
    captured = packing.captured
    assert captured is not None
    names = {file.source.name for file in captured.files}
    assert names >= {"shot.blend", "wood_1.png", "wood_2.png"}
    assert next(missing.source.name for missing in captured.missing) == "wood_0.png"
    assert set(drive.threads) == {"rendermill-errand"}
    packing.discard()


def test_a_drive_that_does_not_answer_stops_nothing_and_can_be_escaped(scene: Any, drive: Drive):
    drive.answers.clear()
    before = session()
    packing = packing_of(scene)
    steps = packing.steps()
    resting: Step | None = None
    while not drive.asked.is_set() or resting is None or ":" not in resting.label:
        step = next(steps)
        resting = step if step.rests else resting
    assert 'Image "wood_0"' in resting.label
    # However often one comes back, it is the same.
    assert all(next(steps).rests for _ in range(100))
    packing.discard()
    del steps
    assert (left_behind(), session()) == ([], before)


def test_it_can_be_given_up_before_each_step(scene: Any):
    before = session()
    count = 0
    is_over = False
    while not is_over:
        packing = packing_of(scene)
        steps = packing.steps()
        taken = 0
        label = ""
        # Rests come as often as a thread is slow, so the others are counted.
        for step in steps:
            taken += not step.rests
            label = step.label
            if taken > count and not step.rests:
                break
        else:
            is_over = True
        assert packing.captured is None or is_over
        packing.discard()
        del steps
        assert left_behind() == [], label
        assert session() == before, label
        count += 1
    assert count > 20


def test_right_before_the_save_blender_may_draw(scene: Any):
    packing = packing_of(scene)
    steps = packing.steps()
    last = next(step for step in steps if step.label.startswith("Saving"))
    assert last.rests
    folders = left_behind()
    assert [list(folder.iterdir()) for folder in folders] == [[]]
    del steps
    packing.discard()
    assert left_behind() == []


def test_what_goes_wrong_elsewhere_is_told(scene: Any, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: Any) -> Any:
        raise PermissionError(13, "Permission denied", "/mill")

    dependencies = importlib.import_module("rendermill.addon.scene.dependencies")
    monkeypatch.setattr(dependencies, "_look", fail)
    with pytest.raises(PackingRefused, match="Permission denied"):
        packing_of(scene).run()
    assert left_behind() == []


def test_a_look_goes_on_although_the_scene_changes_under_it(scene: Any):
    """Objects that go away between two steps: it begins anew, and ends."""
    for number in range(50):
        item = bpy.data.objects.new(f"Prop {number}", None)
        scene.collection.objects.link(item)
    pump = importlib.import_module("rendermill.addon.ui.pump")
    pump.state()
    survey.want()
    for number in range(50):
        survey.work(budget_seconds=0.0002)
        bpy.data.objects.remove(bpy.data.objects[f"Prop {number}"])
    while survey.is_under_way():
        survey.work()
    assert survey.latest is not None
    assert survey.latest.is_checked


def test_a_look_keeps_no_part_of_a_data_block_between_two_steps(scene: Any):
    """Nodes and modifiers that go away between two steps would crash Blender if they were used."""
    material = bpy.data.materials.new("Wood")
    if material.node_tree is None:  # before 5.0
        material.use_nodes = True
    for number in range(30):
        bpy.data.objects.new(f"Prop {number}", bpy.data.meshes["Cube"]).modifiers.new("B", "BEVEL")
    steps = packing_of(scene, copies=False).steps()
    for number, _ in enumerate(steps):
        for item in bpy.data.objects:
            item.modifiers.clear()
        material.node_tree.nodes.clear()
        material.node_tree.nodes.new("ShaderNodeTexNoise").name = f"Noise {number}"
        bpy.data.objects["Cube"].modifiers.new("Bevel", "BEVEL")


def test_a_full_disk_is_one_sentence(scene: Any, monkeypatch: pytest.MonkeyPatch):
    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(packing_module, "save_snapshot", full)
    before = session()
    with pytest.raises(PackingRefused, match=r"No space left on device.*Make room"):
        packing_of(scene).run()
    assert (left_behind(), session()) == ([], before)
