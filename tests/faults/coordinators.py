"""A coordinator as a process of its own, under whatever is done to its disk and its clock."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rendermill.wire.credentials import Credentials

from ..local_farms import local_farm

READY_SECONDS = 120.0
END_SECONDS = 120.0


@dataclass
class CoordinatorProcess:
    """Starts, again and again, on one data folder and one port. Use as a context manager."""

    folder: Path
    """For what is the test's: configuration, log."""
    data: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    """Of its environment, beside the usual ones."""
    port: int = 0
    process: subprocess.Popen[bytes] | None = None
    credentials: Credentials | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Environment of the process and of commands that shall reach it."""
        return local_farm.environment_of(self.folder / "home")

    @property
    def log(self) -> str:
        """All that it has printed for people."""
        return (self.folder / "coordinator.log").read_text("utf-8", "replace")

    @property
    def pid(self) -> int:
        """Process id."""
        assert self.process is not None
        return self.process.pid

    def __enter__(self) -> CoordinatorProcess:
        """Nothing is started yet."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        """Kill what still runs."""
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def start(self, **variables: str) -> Credentials:
        """Start it and return how to reach it; fails with its log when it does not get ready."""
        self.launch(**variables)
        printed = self.folder / "printed.json"
        end = time.monotonic() + READY_SECONDS
        while b"\n" not in printed.read_bytes():
            assert self.process is not None
            assert self.process.poll() is None, self.log
            assert time.monotonic() < end, f"not ready:\n{self.log}"
            time.sleep(0.02)
        line = json.loads(printed.read_bytes())
        self.port = int(line["url"].rsplit(":", 1)[1])
        token = line["sign_in"].partition("#token=")[2]
        self.credentials = Credentials(line["url"], token, "", line["farm"], line["farm_id"])
        return self.credentials

    def launch(self, *words: str, **variables: str) -> subprocess.Popen[bytes]:
        """Start it without waiting for anything."""
        command = [
            *(sys.executable, "-m", "rendermill", "coordinator", "--host", "127.0.0.1"),
            *("--port", str(self.port), "--data", str(self.data), "--json", *words),
        ]
        with (
            (self.folder / "printed.json").open("wb") as out,
            (self.folder / "coordinator.log").open("ab") as log,
        ):
            self.process = subprocess.Popen(
                command,
                env={**self.environment, **self.variables, **variables},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                start_new_session=True,
            )
        return self.process

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run it with other words until it ends by itself."""
        command = [sys.executable, "-m", "rendermill", *words, "--data", str(self.data)]
        return subprocess.run(
            command,
            env=self.environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=END_SECONDS,
            check=False,
        )

    def kill(self) -> None:
        """End it without a word, and wait until it is gone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(END_SECONDS)

    def stop(self) -> None:
        """Ask it to end in good order."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(END_SECONDS) == 0, self.log

    def wait_for_log(self, words: str) -> None:
        """Return once it has printed these words."""
        end = time.monotonic() + END_SECONDS
        while words not in self.log:
            assert self.process is not None
            assert self.process.poll() is None, self.log
            assert time.monotonic() < end, f"never said {words!r}:\n{self.log}"
            time.sleep(0.02)

    def wait_for_end(self) -> int:
        """Return its exit code once it has ended by itself."""
        assert self.process is not None
        return self.process.wait(END_SECONDS)
