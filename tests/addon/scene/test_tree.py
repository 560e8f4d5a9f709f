"""Places of files in the tree that travels."""

from __future__ import annotations

import pytest
from rendermill.addon.scene.tree import plant

pytestmark = pytest.mark.bpy


def test_one_drive():
    tree = plant("/p/shots/a.blend", ["/p/tex/wood.png", "/p/shots/blendcache_a/x.bphys"])
    assert [(root.folder, root.path) for root in tree.roots] == [("/p", "scene")]
    assert tree.places == {
        "/p/shots/a.blend": "scene/shots/a.blend",
        "/p/tex/wood.png": "scene/tex/wood.png",
        "/p/shots/blendcache_a/x.bphys": "scene/shots/blendcache_a/x.bphys",
    }


def test_nothing_in_common_but_the_root():
    tree = plant("/home/me/a.blend", ["/mnt/tex/wood.png"])
    assert [(root.folder, root.path) for root in tree.roots] == [("/", "scene")]
    assert tree.places["/mnt/tex/wood.png"] == "scene/mnt/tex/wood.png"


def test_folders_with_a_common_beginning_of_names():
    tree = plant("/p/ab/a.blend", ["/p/abc/w.png"])
    assert tree.roots[0].folder == "/p"


def test_windows_drives_and_shares():
    tree = plant(
        "C:\\Users\\me\\a.blend",
        [
            "D:\\Tex\\wood.png",
            "d:\\tex\\deep\\stone.png",
            "\\\\nas\\share\\sky.exr",
            "c:\\users\\x.png",
        ],
    )
    assert [(root.folder, root.path) for root in tree.roots] == [
        ("C:\\Users", "scene"),
        ("D:\\Tex", "drive_d"),
        ("\\\\nas\\share\\", "drive_nas_share"),
    ]
    assert tree.places["C:\\Users\\me\\a.blend"] == "scene/me/a.blend"
    assert tree.places["c:\\users\\x.png"] == "scene/x.png"
    assert tree.places["d:\\tex\\deep\\stone.png"] == "drive_d/deep/stone.png"
    assert tree.places["\\\\nas\\share\\sky.exr"] == "drive_nas_share/sky.exr"


def test_names_become_nfc_and_unsafe_ones_are_refused():
    tree = plant("/p/a.blend", ["/p/u\u0308.png", "/p/aux.png", "/p/a:b.png"])
    assert tree.places["/p/u\u0308.png"] == "scene/\u00fc.png"
    assert set(tree.refused) == {"/p/aux.png", "/p/a:b.png"}
