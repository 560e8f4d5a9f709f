"""Two machines that share nothing but a network: found, joined and trusted, no address typed.

The machines are network namespaces that the test makes, joined by a virtual cable; nothing leaves
them. There the coordinator serves TLS with its own certificate, and zeroconf is real multicast.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import wait_until

STUDIO, BOX = "rmill-studio", "rmill-box"


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=120)


@pytest.fixture
def hosts() -> Iterator[tuple[str, str]]:
    """Two namespaces with a cable between them; gone after the test."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs Linux, root and `ip` (apt-get install iproute2) to make namespaces")
    try:
        ip("netns", "add", STUDIO)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"this machine makes no network namespaces: {error.stderr.decode().strip()}")
    try:
        ip("netns", "add", BOX)
        ip("link", "add", "rmill0", "netns", STUDIO, "type", "veth", "peer", "rmill1", "netns", BOX)
        for host, end, address in ((STUDIO, "rmill0", "10.77.0.1"), (BOX, "rmill1", "10.77.0.2")):
            ip("-n", host, "link", "set", "lo", "up")
            ip("-n", host, "link", "set", end, "up")
            ip("-n", host, "addr", "add", f"{address}/24", "dev", end)
            # Multicast needs a way out, as a machine with a gateway has.
            ip("-n", host, "route", "add", "default", "dev", end)
        yield STUDIO, BOX
    finally:
        for host in (STUDIO, BOX):
            subprocess.run(["ip", "netns", "del", host], capture_output=True, check=False)


class Host:
    """Commands on one of the machines, as one of its users."""

    def __init__(self, name: str, home: Path) -> None:
        home.mkdir()
        self.home = home
        self._command = ["ip", "netns", "exec", name, sys.executable, "-u", "-m", "rendermill"]
        clean = {key: value for key, value in os.environ.items() if "RENDERMILL" not in key}
        self._environment = clean | {"RENDERMILL_HOME": str(home)}
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, *words: str) -> Path:
        log = self.home / f"{words[0]}.log"
        with log.open("wb") as out:
            self.started.append(
                subprocess.Popen(
                    [*self._command, *words],
                    env=self._environment,
                    cwd=self.home,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                )
            )
        return log

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._command, *words],
            env=self._environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )

    def stop(self) -> None:
        for process in self.started:
            process.terminate()
        for process in self.started:
            process.wait(180)


def test_a_token_is_all_that_is_typed(
    hosts: tuple[str, str], scenes: Callable[[int, int], Path], tmp_path: Path
) -> None:
    blend = scenes(1, 2)
    studio = Host(hosts[0], tmp_path / "studio")
    box = Host(hosts[1], tmp_path / "box")
    artist = Host(hosts[1], tmp_path / "artist")
    try:
        log = studio.start("coordinator", "--json", "--name", "Studio")
        wait_until(lambda: log.read_text().endswith("}\n"), "the coordinator is up")
        said = json.loads(log.read_text().splitlines()[-1])
        assert said["url"].startswith("https://")

        box.start("node", "--name", "box", "--join", said["join"])

        def node_is_idle() -> bool:
            nodes = studio.run("nodes", "--json")
            return nodes.returncode == 0 and '"idle"' in nodes.stdout

        wait_until(node_is_idle, "the node has joined and is idle")

        # Nobody is let in without the token, and a wrong one tells no more than that.
        assert artist.run("jobs").returncode == 3
        wrong = said["join"][:-1] + ("0" if said["join"][-1] != "0" else "1")
        assert artist.run("join", wrong).returncode == 4
        joined = artist.run("join", said["join"])
        assert joined.returncode == 0, joined.stderr

        done = artist.run("submit", str(blend), "--wait")

        assert done.returncode == 0, done.stdout + done.stderr
        assert len(list((blend.parent / "render").iterdir())) == 2
    finally:
        for host in (artist, box, studio):
            host.stop()
