"""What the disk has damaged is noticed when it is read, served to nobody, and may come again."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time

import pytest
from rendermill.coordinator.store import blobs as blobs_module
from rendermill.coordinator.store import schema
from rendermill.coordinator.store.blobs import BlobDamaged, BlobStore
from rendermill.coordinator.store.collection import CLOCK_SECONDS, Collector
from rendermill.coordinator.store.store import Store
from rendermill.protocol.codec import encode_manifest
from rendermill.protocol.manifest import Chunk, Manifest, ManifestFile
from sqlalchemy import insert


def named(data: bytes) -> tuple[str, bytes]:
    return hashlib.sha256(data).hexdigest(), data


def flip_a_bit(path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def truncate(path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path) -> None:
    os.truncate(path, 0)


DAMAGES = [flip_a_bit, truncate, empty]


@pytest.fixture
def store(tmp_path):
    failures: list[str] = []
    store = BlobStore(tmp_path / "blobs", failures.append, reserve=0)
    store.open()
    yield store
    store.close()
    assert not failures


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("settled", [True, False])
def test_a_damaged_blob_is_missing_until_it_comes_again(store, damage, settled):
    told: list[str] = []
    store.on_damage = told.append
    name, data = named(b"frame " * 100)
    store.add([(name, data)])
    if settled:
        store.settle()
    place = store._folder / (name[:2] if settled else "arriving") / name
    damage(place)
    for look in (store.read, store.check):
        with pytest.raises(BlobDamaged if look == store.read else FileNotFoundError):
            look(name)
    assert told == [name]
    assert store.missing([name]) == [name]
    assert store.length(name) is None
    assert store.add([(name, data)]) == 1
    store.settle()
    assert store.read(name) == data
    assert store.check(name) == len(data)


def test_a_blob_of_many_pieces_is_checked_whole(store, monkeypatch):
    monkeypatch.setattr(blobs_module, "_PIECE_BYTES", 7)
    name, data = named(bytes(range(200)))
    store.add([(name, data)])
    store.settle()
    assert store.check(name) == 200
    flip_a_bit(store._place(name))
    with pytest.raises(BlobDamaged):
        store.check(name)


@pytest.mark.parametrize("jump", [-7 * 86_400.0, 7 * 86_400.0])
def test_what_was_used_a_moment_ago_is_never_unused_however_the_date_jumps(
    store, monkeypatch, jump
):
    """The times of use go by a clock of the store's own, and so does the question."""
    before, _ = chunk = named(b"before the jump")
    store.add([chunk])
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + jump)
    after, data = named(b"after the jump")
    incoming = store.receive(after, len(data), len(data))
    incoming.write(data)
    incoming.finish()
    store.settle()
    assert not set(store.unused_since(store.now() - 3600))
    assert set(store.unused_since(store.now() + 3600)) == {before, after}
    store.missing([before])
    assert set(store.unused_since(store.now() + 3600)) == {before, after}


# --- collection ------------------------------------------------------------------------------


@pytest.fixture
async def farm(tmp_path):
    failures: list[str] = []
    farm = Store(tmp_path / "farm", failures.append)
    await asyncio.to_thread(farm.open)
    farm.blobs.reserve = 0
    yield farm
    await asyncio.to_thread(farm.close)
    assert not failures


async def keep(farm: Store, data: bytes, used: float) -> str:
    name, data = named(data)
    await farm.in_thread(farm.blobs.add, [(name, data)])
    await farm.in_thread(farm.blobs.settle)
    os.utime(farm.blobs._place(name), (used, used))
    return name


async def add_job(farm: Store, number: int, manifest: str, created: float) -> None:
    def write(connection) -> None:
        connection.execute(
            insert(schema.jobs).values(
                id=f"{number:032x}",
                number=number,
                spec="{}",
                manifest=manifest,
                scene_bytes=1,
                scene_files=1,
                state="done",
                paused=False,
                priority=50,
                generation=1,
                untouched="waiting",
                scouts_approved=False,
                created=created,
                problem="",
                penalties="[]",
                assembly_failed=False,
            )
        )

    await farm.writer.run(write)


@pytest.mark.parametrize("damage", [*DAMAGES, os.unlink])
async def test_a_lost_manifest_neither_stops_collection_nor_costs_its_scene(farm, damage):
    """What was last asked for before the job was submitted cannot be its own."""
    now = farm.blobs.now()
    submitted = now - 10 * CLOCK_SECONDS
    chunk = await keep(farm, b"chunk", submitted + 5)
    sound_chunk = await keep(farm, b"sound chunk", submitted - 30 * CLOCK_SECONDS)
    garbage = await keep(farm, b"garbage", submitted - 20 * CLOCK_SECONDS)
    manifests = [
        await keep(
            farm,
            encode_manifest(Manifest((ManifestFile(f"{name[:8]}.blend", (Chunk(name, size),)),))),
            submitted,
        )
        for name, size in ((chunk, 5), (sound_chunk, 11))
    ]
    for number, manifest in enumerate(manifests):
        await add_job(farm, number + 1, manifest, submitted)
    damage(farm.blobs._place(manifests[0]))

    collected = await Collector(farm).collect()

    assert collected.blobs == 1
    assert farm.blobs.missing([chunk, sound_chunk, manifests[1]]) == []
    assert farm.blobs.missing([garbage]) == [garbage]
