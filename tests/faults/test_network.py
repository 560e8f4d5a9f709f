"""The network between a node and its coordinator: cut, half open, slow, and with damaged bytes."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rendermill.protocol.scene import CapturedScene

from .farm_under_fault import FarmUnderFault, FollowedJob, wait_until
from .proxy import Proxy, Weather

IP_SECONDS = 120
FINISH_SECONDS = 60.0
FAR = "rmill-far"
"""The network namespace of the node; the coordinator stays in that of the test."""
NEAR_ADDRESS, FAR_ADDRESS = "10.78.0.1", "10.78.0.2"


@pytest.fixture
def proxied(farm: FarmUnderFault) -> Iterator[tuple[FarmUnderFault, Proxy]]:
    """A farm whose node ``one`` reaches its coordinator through a proxy."""
    farm.start_coordinator()
    with Proxy(farm.farm.port) as proxy:
        farm.start_node("one", "--coordinator", proxy.url)
        farm.wait_ready("one")
        yield farm, proxy
        proxy.weather = Weather()
        # While there still is a way: a node that stops says goodbye.
        for member in farm.farm.members.values():
            if member.name != "coordinator":
                member.stop()


def wait_rendered(farm: FarmUnderFault, more: int) -> None:
    """Wait until node ``one`` has finished so many frames more than by now."""
    wanted = rendered(farm) + more
    wait_until(lambda: rendered(farm) >= wanted, lambda: f"it renders on\n{farm.story()}")


def rendered(farm: FarmUnderFault) -> int:
    return sum(notice["event"] == "rendered" for notice in farm.notices("one"))


def wait_leases_lost(farm: FarmUnderFault, job: FollowedJob) -> None:
    """Wait until nobody holds a lease any more."""
    wait_until(
        lambda: not any(frame["state"] == "leased" for frame in farm.frames(job)),
        lambda: f"the leases run out\n{farm.story()}",
    )


def wait_connected_anew(farm: FarmUnderFault, proxy: Proxy, job: FollowedJob, before: int) -> None:
    """Wait until more than one connection was made since there were ``before``.

    On a busy machine the job may be over already, and one connection is all that is needed.
    """

    def is_enough() -> bool:
        is_over = farm.view(job).get("state") == "done"
        return proxy.connections > before + (0 if is_over else 1)

    wait_until(is_enough, lambda: f"it connects again\n{farm.story()}")


def test_a_half_open_connection_costs_no_finished_frame(
    proxied: tuple[FarmUnderFault, Proxy], scene: CapturedScene, seen: dict[int, bytes]
) -> None:
    """Both sides believe in the line, nothing arrives: the lease runs out, the results wait."""
    farm, proxy = proxied
    job = farm.submit(scene, "1-6")
    wait_until(lambda: farm.done(job) >= 1, "a frame is done")
    proxy.weather = Weather(silent=True)
    wait_leases_lost(farm, job)
    proxy.weather = Weather()
    farm.check(seen=seen)


def test_connections_that_break_and_lines_that_are_slow(
    proxied: tuple[FarmUnderFault, Proxy], scene: CapturedScene, seen: dict[int, bytes]
) -> None:
    farm, proxy = proxied
    job = farm.submit(scene, "1-6")
    for number in range(3):
        wait_until(lambda number=number: farm.done(job) >= number, "frames come")
        # Each connection dies in the middle of what it sends, then all of them at once.
        proxy.weather = Weather(cut_after_bytes=(700, 1500, 3000)[number])
        before = proxy.connections
        proxy.break_all()
        wait_connected_anew(farm, proxy, job, before)
        proxy.weather = Weather(delay_seconds=0.05)
    proxy.weather = Weather()
    farm.check(seen=seen)


def test_bytes_that_change_on_the_way_are_sent_again(
    proxied: tuple[FarmUnderFault, Proxy], scene: CapturedScene, seen: dict[int, bytes]
) -> None:
    """Plain http has no checksum of its own: the hash that names a blob is what finds it."""
    farm, proxy = proxied
    job = farm.submit(scene, "1-4")
    wait_until(lambda: farm.done(job) >= 1, "a frame is done")
    proxy.weather = Weather(damage_after_bytes=1000)
    before = proxy.connections
    proxy.break_all()
    wait_connected_anew(farm, proxy, job, before)
    time.sleep(1.0)  # The longer, the more is damaged; nothing hangs on how much.
    proxy.weather = Weather()
    proxy.break_all()
    farm.check(seen=seen)


# --- a cable between two machines --------------------------------------------------------------


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=IP_SECONDS)


@pytest.fixture
def cable() -> Iterator[str]:
    """A namespace with a cable to this one; the name of the end that lies here. Gone afterwards."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs Linux, root and `ip` (apt-get install iproute2) to make namespaces")
    here = "rmillnear"
    try:
        ip("netns", "add", FAR)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"this machine makes no network namespaces: {error.stderr.decode().strip()}")
    try:
        try:
            ip("link", "add", here, "type", "veth", "peer", "name", "rmillfar", "netns", FAR)
            ip("addr", "add", f"{NEAR_ADDRESS}/24", "dev", here)
            ip("link", "set", here, "up")
            ip("-n", FAR, "link", "set", "lo", "up")
            ip("-n", FAR, "addr", "add", f"{FAR_ADDRESS}/24", "dev", "rmillfar")
            ip("-n", FAR, "link", "set", "rmillfar", "up")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"this machine joins no namespaces: {error.stderr.decode().strip()}")
        yield here
    finally:
        subprocess.run(["ip", "netns", "del", FAR], capture_output=True, check=False)


def test_a_cable_pulled_for_longer_than_the_lease(
    farm: FarmUnderFault, cable: str, scene: CapturedScene, seen: dict[int, bytes], tmp_path: Path
) -> None:
    """The node goes on with what it holds, keeps it, and delivers it when the cable is back."""
    farm.start_coordinator("--host", "0.0.0.0")
    farm.enter_namespace("one", FAR)
    url = f"https://{NEAR_ADDRESS}:{farm.farm.port}"
    farm.start_node("one", "--coordinator", url)
    farm.wait_ready("one")
    kept = False
    while not kept:
        # On a busy machine a job may be over before anyone pulls the cable: then there is another.
        job = farm.submit(scene, "1-6")
        wait_until(lambda job=job: farm.done(job) >= 1, "a frame is done")
        ip("link", "set", cable, "down")
        wait_leases_lost(farm, job)
        if farm.view(job)["state"] != "done":
            # What it holds it finishes, unless the cable went before it was given anything.
            with contextlib.suppress(AssertionError):
                wait_until(lambda: farm.outbox("one") != [], "it finishes a frame", FINISH_SECONDS)
            kept = farm.outbox("one") != []
        ip("link", "set", cable, "up")
        farm.wait_done(job)
    disk = farm.check(seen=seen)
    # What waited in the outbox counts: nothing that was finished was rendered again.
    for job in farm.jobs:
        frames = [
            notice["frame"]
            for notice in farm.notices("one")
            if notice["event"] == "rendered" and notice["job"] == job.id
        ]
        assert sorted(frames) == job.frames, frames
        assert len(disk.frames(job.id)) == 6
