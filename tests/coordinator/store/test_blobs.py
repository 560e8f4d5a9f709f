"""Blobs on a real disk: what is kept, what is refused, what a crash may leave."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from rendermill.coordinator.store import DiskFull, StoreFailed
from rendermill.coordinator.store import blobs as blobs_module
from rendermill.coordinator.store.blobs import BlobStore, WrongHash


def named(data: bytes) -> tuple[str, bytes]:
    return hashlib.sha256(data).hexdigest(), data


@pytest.fixture
def failures() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path, failures):
    store = BlobStore(tmp_path / "blobs", failures.append, reserve=0)
    store.open()
    yield store
    store.close()


def in_place(store: BlobStore, name: str) -> bool:
    return (store._folder / name[:2] / name).exists()


@pytest.mark.parametrize("count", [1, 3, 500])
def test_what_arrived_is_in_its_place_after_the_barrier(store, count):
    items = [named(b"%d" % number) for number in range(count)]
    assert store.add(items) == count
    assert store.add(items) == 0
    assert store.missing([name for name, _ in items]) == []
    assert not any(in_place(store, name) for name, _ in items)
    store.settle()
    assert all(in_place(store, name) for name, _ in items)
    assert all(store.read(name) == data for name, data in items)
    assert not list((store._folder / "arriving").iterdir())


def test_every_file_is_flushed_where_there_is_no_syncfs(tmp_path, failures, monkeypatch):
    monkeypatch.setattr(blobs_module, "_has_syncfs", lambda: False)
    flushed: list[int] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda number: (flushed.append(number), real(number))[1])
    store = BlobStore(tmp_path / "b", failures.append, reserve=0)
    store.open()
    before = len(flushed)
    items = [named(b"%d" % number) for number in range(40)]
    store.add(items)
    store.settle()
    folders = {name[:2] for name, _ in items}
    assert len(flushed) - before == len(items) + len(folders)
    store.close()


def test_a_torn_arrival_is_dropped_at_the_next_start(tmp_path, failures):
    whole, torn = named(b"whole"), named(b"torn")
    first = BlobStore(tmp_path / "b", failures.append, reserve=0)
    first.open()
    first.add([whole, torn])
    # A power cut: names have reached the disk, not all of the bytes have.
    (tmp_path / "b" / "arriving" / torn[0]).write_bytes(b"to")
    (tmp_path / "b" / "temp" / "left").write_bytes(b"half")
    second = BlobStore(tmp_path / "b", failures.append, reserve=0)
    second.open()
    assert second.missing([whole[0], torn[0]]) == [torn[0]]
    assert not list((tmp_path / "b" / "temp").iterdir())
    assert in_place(second, whole[0])
    second.close()


def test_a_wrong_hash_stores_nothing_and_keeps_those_before(store):
    good, bad = named(b"good"), ("ab" * 32, b"bad")
    with pytest.raises(WrongHash, match="ab" * 32):
        store.add([good, bad, named(b"after")])
    assert store.missing([good[0], bad[0]]) == [bad[0]]
    incoming = store.receive("cd" * 32, 3, 3)
    incoming.write(b"abc")
    with pytest.raises(WrongHash):
        incoming.finish()
    incoming.abort()
    incoming = store.receive("cd" * 32, 3, 3)
    with pytest.raises(WrongHash, match="More than 3 bytes"):
        incoming.write(b"abcd")
    incoming.abort()
    assert not list((store._folder / "temp").iterdir())


def test_one_blob_is_durable_when_it_is_in(store):
    name, data = named(os.urandom(300_000))
    incoming = store.receive(name, len(data), len(data))
    for at in range(0, len(data), 1000):
        incoming.write(data[at : at + 1000])
    incoming.finish()
    assert in_place(store, name)
    assert store.length(name) == len(data)


def test_the_same_blob_from_many_threads(store):
    items = [named(b"%d" % (number % 20)) for number in range(2000)]

    def work(part):
        store.add(part)
        store.settle()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [items[at::8] for at in range(8)]))
    assert store.missing([name for name, _ in items]) == []
    assert not store.needs_settling()
    assert store._unsettled_bytes == 0


def test_a_full_disk_stores_nothing_and_is_not_final(store):
    item = named(b"x" * 100)
    store.reserve = 1 << 60
    with pytest.raises(DiskFull, match="free space"):
        store.add([item])
    with pytest.raises(DiskFull):
        store.receive(item[0], 100, 100)
    store.reserve = 0
    assert store.add([item]) == 1


@pytest.mark.parametrize(
    ("code", "error"),
    [(errno.ENOSPC, DiskFull), (errno.EDQUOT, DiskFull), (errno.EIO, StoreFailed)],
)
def test_errors_of_the_disk_while_writing(store, failures, monkeypatch, code, error):
    def refuse(*_args):
        raise OSError(code, os.strerror(code))

    name, data = named(b"data")
    with monkeypatch.context() as broken:
        broken.setattr(os, "write", refuse)
        with pytest.raises(error):
            store.add([(name, data)])
    assert store.missing([name]) == [name]
    assert not list((store._folder / "temp").iterdir())
    if error is StoreFailed:
        assert len(failures) == 1
        # Final: it is not tried again.
        with pytest.raises(StoreFailed):
            store.add([(name, data)])
    else:
        assert store.add([(name, data)]) == 1
        assert not failures


@pytest.mark.parametrize("count", [2, 100])
def test_a_failed_flush_is_final(store, failures, monkeypatch, count):
    def refuse(*_args):
        raise OSError(errno.EIO, "Input/output error")

    store.add([named(b"%d" % number) for number in range(count)])
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", refuse)
        broken.setattr(BlobStore, "_barrier", refuse)
        with pytest.raises(StoreFailed, match="accepts nothing more"):
            store.settle()
    assert len(failures) == 1
    # The second fsync of a lost write reports success; it must never be asked for.
    for ask in (
        store.settle,
        lambda: store.add([named(b"y")]),
        lambda: store.receive("a" * 64, 1, 1),
    ):
        with pytest.raises(StoreFailed):
            ask()


def test_what_was_asked_for_is_not_removed(store):
    name, data = named(b"old")
    store.add([(name, data)])
    store.settle()
    long_ago = time.time() - 10_000
    os.utime(store._place(name), (long_ago, long_ago))
    moment = time.time() - 5_000
    assert list(store.unused_since(moment)) == [name]
    assert store.missing([name]) == []
    assert store.remove_if_unused(name, moment) == 0
    assert store.read(name) == data
    os.utime(store._place(name), (long_ago, long_ago))
    assert store.remove_if_unused(name, moment) == 3
    assert store.missing([name]) == [name]


def test_reading_while_the_barrier_moves(store):
    stop = threading.Event()
    items = [named(b"%d" % number) for number in range(300)]

    def read_on():
        while not stop.is_set():
            for name, data in items:
                if store.length(name) is not None:
                    assert store.read(name) == data

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read_on) for _ in range(2)]
        for at in range(0, len(items), 30):
            store.add(items[at : at + 30])
            store.settle()
        stop.set()
        for reader in readers:
            reader.result()


def test_uploads_in_progress_are_held_against_the_free_space(store, monkeypatch):
    monkeypatch.setattr(store, "free_bytes", lambda: 1000)
    name, data = named(b"x" * 600)
    first = store.receive(name, 600, 600)
    with pytest.raises(DiskFull, match="free space"):
        store.receive("b" * 64, 600, 600)
    store.receive("b" * 64, 400, 400).abort()
    first.write(data)
    # Written, so the disk itself knows of them; here it goes on saying 1000.
    store.receive("b" * 64, 1000, 1000).abort()
    first.finish()
    first.abort()
    unfinished = store.receive("c" * 64, 1000, 1000)
    unfinished.write(b"half")
    unfinished.abort()
    unfinished.abort()
    store.require_room(1000)


def test_being_asked_for_counts_for_what_has_only_arrived(store):
    name, data = named(b"slow upload")
    store.add([(name, data)])
    long_ago = time.time() - 10_000
    os.utime(store._folder / "arriving" / name, (long_ago, long_ago))
    moment = time.time() - 5_000
    assert store.missing([name]) == []
    store.make_durable([name])
    assert list(store.unused_since(moment)) == []
    assert store.remove_if_unused(name, moment) == 0


@pytest.mark.parametrize("way", ["settled", "received"])
def test_durable_means_that_the_name_is_on_the_disk_too(store, monkeypatch, way):
    """Another thread has renamed the blob and has yet to flush the folder."""
    name, data = named(b"chunk")
    held, flushed, release = threading.Event(), [], threading.Event()
    real = blobs_module._flush_folder

    def flush(folder):
        if not held.is_set():
            held.set()
            assert release.wait(60)
        real(folder)
        flushed.append(folder.name)

    def settle():
        store.add([(name, data)])
        store.settle()

    def receive():
        incoming = store.receive(name, len(data), len(data))
        incoming.write(data)
        incoming.finish()

    monkeypatch.setattr(blobs_module, "_flush_folder", flush)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(settle if way == "settled" else receive)
        assert held.wait(60)
        try:
            assert store.missing([name]) == []
            store.make_durable([name])
            assert flushed == [name[:2]]
        finally:
            release.set()
        other.result()
    assert not store._renamed


def test_strange_files_are_left_alone_and_in_nobodys_way(store):
    name, data = named(b"old")
    store.add([(name, data)])
    store.settle()
    stray = store._folder / name[:2] / ".DS_Store"
    stray.write_bytes(b"folder view")
    for path in (stray, store._place(name)):
        os.utime(path, (1, 1))
    assert list(store.unused_since(time.time())) == [name]


def test_what_a_killed_process_had_renamed_is_flushed_at_the_next_start(
    store, tmp_path, monkeypatch
):
    flushed = []
    real = blobs_module._flush_folder
    monkeypatch.setattr(
        blobs_module, "_flush_folder", lambda folder: (flushed.append(folder.name), real(folder))
    )
    second = BlobStore(tmp_path / "blobs", lambda _: None, reserve=0)
    second.open()
    second.close()
    assert len(set(flushed)) == 256
