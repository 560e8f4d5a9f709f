from __future__ import annotations

import hashlib

import pytest
from rendermill.protocol.codec import (
    CodecError,
    decode_manifest,
    encode_manifest,
)
from rendermill.protocol.manifest import (
    CHUNK_MAX_BYTES,
    Chunk,
    Manifest,
    ManifestError,
    ManifestFile,
    check_path,
    path_problem,
)

A, B = Chunk("a" * 64, 10), Chunk("0b" * 32, CHUNK_MAX_BYTES)


@pytest.mark.parametrize(
    "path", ["scene/a.blend", "a", "Ümläut/日本語.png", "a b/c.d", "..a/b..c", "CONsole/nul1"]
)
def test_paths_that_every_system_can_have(path: str) -> None:
    assert check_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/a",
        "a//b",
        "a/",
        "./a",
        "a/../b",
        "..",
        "a\\b",
        "C:/a",
        "a\x00b",
        "a\n",
        "con",
        "a/NUL.txt",
        "com1.png",
        "a.",
        "a ",
        "a?",
        "x" * 256,
        "é" * 128 + "e",
        "/".join(["abc"] * 400),
        "e\u0301",
        "a\ud800",
    ],
)
def test_paths_that_could_do_harm(path: str) -> None:
    with pytest.raises(ManifestError):
        check_path(path)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/home/me/wood.png", ""),
        ("C:\\textures\\wood.png", ""),
        ("\\\\server\\share\\wood.png", ""),
        ("/home/me/u\u0308.png", ""),
        ("/home/me/what?.png", "'what?.png' has '?' in it, which Windows does not allow in names"),
        ("/home/me/a\\b.png", "has '\\\\' in it"),
        ("/home/Con.d/wood.png", "'Con.d' is a name that Windows keeps for itself"),
        ("/home/me /wood.png", "ends in a space"),
        ("/home/me/wood.", "ends in a dot"),
        ("/home/" + "w" * 256, "longer than the 255 bytes"),
        ("/home/\udcff.png", "is not Unicode"),
    ],
)
def test_what_a_name_on_this_machine_lacks(path: str, says: str) -> None:
    assert says in path_problem(path)
    assert bool(path_problem(path)) == bool(says)


def test_bytes_are_canonical_and_come_back() -> None:
    one = Manifest((ManifestFile("b", (A, B)), ManifestFile("a/x", ())))
    other = Manifest((ManifestFile("a/x", ()), ManifestFile("b", (A, B))))
    data = encode_manifest(one)
    assert data == encode_manifest(other)
    assert decode_manifest(data) == other
    # Golden: manifests are stored and their hash names a scene, so the bytes may never drift.
    assert (
        hashlib.sha256(data).hexdigest()
        == "25a632507a7cefd93697da634c3b9d4fe031c3259aded49252ab951805df80b1"
    )


def test_sums() -> None:
    manifest = Manifest((ManifestFile("a", (A, B)), ManifestFile("b", (A,))))
    assert manifest.blobs() == {A.sha256: 10, B.sha256: CHUNK_MAX_BYTES}
    assert manifest.length == 20 + CHUNK_MAX_BYTES


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ([ManifestFile("a", ()), ManifestFile("A", ())], "twice"),
        ([ManifestFile("a", ()), ManifestFile("a/b", ())], "both a file and a folder"),
        ([ManifestFile("../a", ())], "safely"),
        ([ManifestFile("a", (Chunk("A" * 64, 1),))], "bad hash"),
        ([ManifestFile("a", (Chunk("a" * 64, 0),))], "bad hash or length"),
        ([ManifestFile("a", (Chunk("a" * 64, CHUNK_MAX_BYTES + 1),))], "bad hash or length"),
    ],
)
def test_manifests_that_cannot_be(files: list[ManifestFile], says: str) -> None:
    with pytest.raises(ManifestError, match=says):
        encode_manifest(Manifest(tuple(files)))


@pytest.mark.parametrize(
    "data",
    [b"", b"\xc1", b"\x90", b"\x92\x02\x90", b"\x92\x01\x91\x92\xa1a\x91\x01", b"\x93\x01\x90\x90"],
)
def test_bytes_that_are_no_manifest(data: bytes) -> None:
    with pytest.raises(CodecError):
        decode_manifest(data)


def test_unsorted_bytes_are_refused() -> None:
    data = b"\x92\x01\x92\x92\xa1b\x90\x92\xa1a\x90"
    with pytest.raises(ManifestError, match="sorted"):
        decode_manifest(data)
