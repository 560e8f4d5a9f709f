"""Which files a colour configuration consists of."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
from rendermill.addon.scene.colours import colour_files, configuration, own_configuration

pytestmark = pytest.mark.bpy

bpy: Any = importlib.import_module("bpy")
"""The stubs know one version of Blender, these tests run in all."""

CONFIG = """ocio_profile_version: {version}
{search}
colorspaces:
  - !<ColorSpace>
    name: Film
    from_scene_reference: !<GroupTransform>
      children:
        - !<FileTransform> {{src: film.spi1d, interpolation: linear}}
        - !<FileTransform> {{src: "look of the day.cube", cccid: 3}}
        - !<FileTransform> {{src: film.spi1d}}
        - !<ColorSpaceTransform> {{src: Linear, dst: Film}}
        - !<FileTransform>
          interpolation: linear
          src: block style.cube
        - !<ColorSpaceTransform>
          src: Linear
"""


def config(tmp_path: Path, search: str, version: str = "2") -> Path:
    path = tmp_path / "studio" / "config.ocio"
    path.parent.mkdir(exist_ok=True)
    path.write_text(CONFIG.format(version=version, search=search), "utf-8")
    return path


def table(tmp_path: Path, name: str) -> str:
    path = tmp_path / "studio" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("", "utf-8")
    return str(path)


@pytest.mark.parametrize(
    "search",
    [
        "search_path: luts:looks",
        'search_path: "luts:looks"',
        "search_path:\n  - luts\n  - looks",
        "search_path: luts:./looks/../looks",
    ],
)
def test_every_table_is_found_below_the_configuration(tmp_path: Path, search: str):
    path = config(tmp_path, search)
    film, look = table(tmp_path, "luts/film.spi1d"), table(tmp_path, "looks/look of the day.cube")
    block = table(tmp_path, "luts/block style.cube")
    table(tmp_path, "luts/unused.spi1d")
    found = colour_files(str(path))
    assert found.files == [str(path), film, look, block]
    assert (found.missing, found.elsewhere) == ([], [])


def test_a_table_that_is_not_there(tmp_path: Path):
    path = config(tmp_path, "search_path: luts")
    film = table(tmp_path, "luts/film.spi1d")
    block = table(tmp_path, "luts/block style.cube")
    found = colour_files(str(path))
    assert found.files == [str(path), film, block]
    assert found.missing == [str(tmp_path / "studio/luts/look of the day.cube")]


def test_folders_that_a_node_has_somewhere_else(tmp_path: Path):
    path = config(tmp_path, f"search_path: {tmp_path}/shared:$SHOT/luts:luts")
    table(tmp_path, "../shared/film.spi1d")
    film = table(tmp_path, "luts/film.spi1d")
    found = colour_files(str(path))
    assert film in found.files
    assert found.elsewhere == [f"{tmp_path}/shared", "$SHOT/luts"]
    assert found.missing == []


def test_configurations_that_are_one_file_or_none(tmp_path: Path):
    assert colour_files("").files == []
    assert colour_files("ocio://default").files == []
    assert colour_files(table(tmp_path, "aces.ocioz")).files == [f"{tmp_path}/studio/aces.ocioz"]


def test_what_blender_takes_from_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OCIO", raising=False)
    assert configuration(own_configuration()) == ""
    monkeypatch.setenv("OCIO", "ocio://studio-config-latest")
    assert configuration(own_configuration()) == "ocio://studio-config-latest"
    monkeypatch.setenv("OCIO", str(tmp_path / "gone.ocio"))
    assert configuration(own_configuration()) == ""
    path = config(tmp_path, "")
    monkeypatch.setenv("OCIO", f"{tmp_path}/studio/../studio/config.ocio")
    assert configuration(own_configuration()) == str(path)


def test_blenders_own_configuration_is_complete_and_stays_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    own = Path(bpy.utils.system_resource("DATAFILES")) / "colormanagement" / "config.ocio"
    found = colour_files(str(own))
    assert (found.missing, found.elsewhere) == ([], [])
    assert len(found.files) > 3
    # The starters of distributions set the variable to it.
    monkeypatch.setenv("OCIO", str(own))
    assert configuration(own_configuration()) == ""
    link = tmp_path / "config.ocio"
    link.symlink_to(own)
    monkeypatch.setenv("OCIO", str(link))
    assert configuration(own_configuration()) == ""
