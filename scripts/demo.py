"""The whole of Rendermill on one machine, from a fresh clone, in one command.

``python3 scripts/demo.py`` makes an environment with Blender as a Python module, starts a
coordinator and two nodes as processes of their own, makes an animated scene, presses the button,
follows the job until every frame lies in the scene's own output folder, makes a film of them, and
renders three of the frames without the farm to show that the pixels are the same.

Needs Python and nothing else; the exit code is 0 only if all of that happened.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import environment
from environment import DEMO_311, DEMO_313, ROOT, Environment, SetupError, say

FRAMES, FRAMES_MAX = 40, 240
NODES, NODES_MAX = 2, 16
FPS = 16

START_SECONDS = 180.0
"""Most time for a coordinator to answer and for the first node to be ready."""

STOP_SECONDS = 10.0
"""Time a process gets between the request to stop and its end by force."""

MARKER = "rendermill-demo"
"""File that says a folder was made by the demo and may be deleted by the next one."""

BAR = 24
"""Characters of the progress bar."""


class DemoFailed(Exception):
    """The demo cannot go on; the message says why and where to look."""


_ENDINGS = (signal.SIGTERM, *([signal.SIGHUP] if sys.platform != "win32" else []))
"""Besides Ctrl-C, what ends a program in good order: a closed terminal is such an end, too."""


def main() -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument(
        "--frames", type=_count(FRAMES_MAX), default=FRAMES, metavar="N", help="length of the film"
    )
    parser.add_argument(
        "--nodes", type=_count(NODES_MAX), default=NODES, metavar="N", help="nodes to start"
    )
    parser.add_argument(
        "--keep", action="store_true", help="keep farm and status page running until Ctrl-C"
    )
    parser.add_argument(
        "--output", type=Path, default=ROOT / "demo-output", metavar="DIR", help="where it all goes"
    )
    options = parser.parse_args()
    for number in _ENDINGS:
        signal.signal(number, _interrupt)
    try:
        python = _prepare()
        with Demo(python, options.output.expanduser().absolute()) as demo:
            identical = demo.run(options.frames, options.nodes)
            if options.keep:
                demo.stay()
    except (SetupError, DemoFailed) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped; nothing is left running.", file=sys.stderr)
        return 130
    return 0 if identical else 1


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _count(most: int) -> Any:
    def parse(text: str) -> int:
        if not text.isdigit() or not 1 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {most}")
        return int(text)

    return parse


def _prepare() -> Path:
    """Make the environment that fits this Python; return its interpreter."""
    environment.ensure_system(environment.LIBRARIES, {})
    chosen: Environment = DEMO_313 if sys.version_info[:2] == (3, 13) else DEMO_311
    return environment.ensure(chosen)


class Demo:
    """A farm in a folder of its own. As a context manager it leaves no process behind."""

    def __init__(self, python: Path, folder: Path) -> None:
        self.python = python
        self.folder = folder
        self.scene = folder / "scene" / "mill.blend"
        self.home = folder / "home"
        self.logs = folder / "logs"
        self.page = ""
        self._url = ""
        self._token = ""
        self._processes: list[tuple[str, subprocess.Popen[bytes]]] = []
        self._environment = _clean_environment(self.home)

    def __enter__(self) -> Demo:
        """Clear the folder of the last demo."""
        if self.folder.exists() and any(self.folder.iterdir()):
            if not (self.folder / MARKER).is_file():
                raise DemoFailed(
                    f"{self.folder} holds something that is not a demo; name another --output."
                )
            shutil.rmtree(self.folder)
        for folder in (self.folder, self.home, self.home / "blender", self.logs):
            folder.mkdir(parents=True, exist_ok=True)
        (self.folder / MARKER).write_text("Made by scripts/demo.py, which may delete it.\n")
        return self

    def __exit__(self, *_error: object) -> None:
        """Stop the farm: ask everything to end, then make sure it has."""
        # A second Ctrl-C must not keep a process alive.
        for number in (signal.SIGINT, *_ENDINGS):
            signal.signal(number, signal.SIG_IGN)
        try:
            # Nodes first: they give back what they hold while somebody listens.
            for _, process in reversed(self._processes):
                _stop(process)
            _sweep(self.home)
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            for number in _ENDINGS:
                signal.signal(number, _interrupt)

    def run(self, frames: int, nodes: int) -> bool:
        """Do it all; return whether the pixels of farm and local renders are identical."""
        begin = time.monotonic()
        say(f"Making a scene of {frames} frames ...")
        self._step("scene", "demo_scene.py", self.scene.parent, "--frames", str(frames))
        self._start_coordinator()
        say(f"Coordinator at {self._url}\nStatus page: {self.page}")
        self._start_nodes(nodes)
        rendered_in = self._press_button(frames)
        delivered = sorted((self.scene.parent / "frames").glob("mill_*.png"))
        if len(delivered) != frames:
            raise DemoFailed(f"{len(delivered)} of {frames} frames arrived; see {self.logs}.")
        say(f"{frames} frames in {rendered_in:.1f} s, from the button to the last file.")
        film = self.folder / "mill.mp4"
        say("Making a film of them ...")
        frames_folder = self.scene.parent / "frames"
        self._step(
            "film", "demo_steps.py", "film", frames_folder, film, self.folder / "scratch", str(FPS)
        )
        identical = self._prove(frames)
        say("")
        say(f"Frames       {frames_folder}")
        say(f"Mist pass    {self.scene.parent / 'mist'} (a File Output node of the scene)")
        say(f"Film         {film}")
        say(f"Scene        {self.scene}")
        say(f"Logs         {self.logs}")
        say(f"All of it took {time.monotonic() - begin:.0f} s.")
        return identical

    def stay(self) -> None:
        """Keep the farm running until Ctrl-C."""
        say(f"Status page  {self.page}\nThe farm keeps running: Ctrl-C ends it.")
        with contextlib.suppress(KeyboardInterrupt):
            while all(process.poll() is None for _, process in self._processes):
                time.sleep(1.0)

    # --- the farm ------------------------------------------------------------------------------

    def _start_coordinator(self) -> None:
        command = ["coordinator", "--host", "127.0.0.1", "--port", "0"]
        process = self._start("coordinator", [*command, "--name", "Demo", "--json"], pipe=True)
        line = _first_line(process, START_SECONDS)
        if not line:
            raise DemoFailed(f"The coordinator did not start:\n{self._tail('coordinator')}")
        facts = json.loads(line)
        self._url, self.page = facts["url"], facts["sign_in"]
        credentials = json.loads((self.home / "config" / "local.json").read_text(encoding="utf-8"))
        self._token = credentials["token"]

    def _start_nodes(self, count: int) -> None:
        threads = max(1, (os.cpu_count() or 1) // count)
        # The first asks Blender what it can do and writes it down, the others read that.
        for number in range(1, count + 1):
            name = f"node-{number}"
            say(f"Starting {name} ...")
            command = ["node", "--name", name, "--threads", str(threads), "--grace", "0", "--json"]
            self._start(name, [*command, "--blender", str(self.python)])
            if number == 1:
                self._wait_for_nodes(1)
        self._wait_for_nodes(count)

    def _wait_for_nodes(self, count: int) -> None:
        """Return when that many nodes are ready for frames."""
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            self._check_alive()
            views = self._get("/api/v1/nodes")["nodes"]
            if sum(view["state"] in ("idle", "rendering") for view in views) >= count:
                return
            time.sleep(0.2)
        raise DemoFailed(f"The nodes are not ready after {START_SECONDS:.0f} s; see {self.logs}.")

    def _press_button(self, frames: int) -> float:
        """Call the operator in a Blender and show how the job goes; return the seconds it took."""
        say("Opening the scene in Blender and pressing Render Animation on Farm ...")
        follower = Follower(self._url, self._token, frames)
        begin = time.monotonic()
        blend, run = str(self.scene), f"1-{frames}" if frames > 1 else "1"
        process = self._start_program("artist", [_script("demo_steps.py"), "press", blend, run])
        with follower:
            while process.poll() is None:
                self._check_alive("artist")
                follower.show()
                time.sleep(0.1)
        took = time.monotonic() - begin
        self._processes = [(name, other) for name, other in self._processes if other != process]
        if process.returncode != 0:
            raise DemoFailed(f"Blender could not bring the frames:\n{self._tail('artist')}")
        say(f"\r{follower.line()}\x1b[K" if sys.stdout.isatty() else follower.line())
        for line in follower.shares():
            say(f"  {line}")
        return took

    def _prove(self, frames: int) -> bool:
        """Render three frames without the farm and compare; say what came of it."""
        chosen = sorted({1, (frames + 1) // 2, frames})
        words = ", ".join(map(str, chosen))
        say(f"Rendering frames {words} here, without the farm ...")
        local = self.folder / "local"
        numbers = [str(number) for number in chosen]
        self._step("local", "demo_steps.py", "render", self.scene, local, *numbers)
        command = [_script("demo_steps.py"), "compare", str(self.scene.parent), str(local)]
        answer = subprocess.run(
            [str(self.python), *command],
            env=self._environment,
            check=False,
            capture_output=True,
            text=True,
        )
        results = [json.loads(line) for line in answer.stdout.splitlines()]
        if not results:
            raise DemoFailed(f"The pictures could not be compared:\n{answer.stderr}")
        wrong = [one for one in results if not one["identical"]]
        for one in wrong:
            say(
                f"DIFFERENT: {one['picture']}, {one.get('pixels', 'all')} pixels, "
                f"by at most {one.get('largest', 'another size')} of 255"
            )
        if not wrong:
            say(
                f"Identical: every pixel of {len(results)} pictures (frames {words}, "
                "render output and File Output) is the same from the farm as from this Blender."
            )
        return not wrong

    # --- processes -----------------------------------------------------------------------------

    def _start(
        self, name: str, command: Sequence[str], *, pipe: bool = False
    ) -> subprocess.Popen[bytes]:
        return self._start_program(name, ["-m", "rendermill", *command], pipe=pipe)

    def _start_program(
        self, name: str, command: Sequence[str], *, pipe: bool = False
    ) -> subprocess.Popen[bytes]:
        with (self.logs / f"{name}.log").open("ab") as log:
            # A session of its own: Ctrl-C reaches this program only, which ends the others.
            process = subprocess.Popen(
                [str(self.python), "-u", *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipe else log,
                stderr=log,
                env=self._environment,
                cwd=self.folder,
                start_new_session=True,
            )
        self._processes.append((name, process))
        return process

    def _step(self, name: str, script: str, *arguments: str | Path) -> None:
        """Run a script to its end; its output goes into the logs. Raises `DemoFailed`."""
        process = self._start_program(name, [_script(script), *map(str, arguments)])
        code = process.wait()
        self._processes = [(other, one) for other, one in self._processes if one != process]
        if code != 0:
            raise DemoFailed(f"{script} failed with exit code {code}:\n{self._tail(name)}")

    def _check_alive(self, except_for: str = "") -> None:
        for name, process in self._processes:
            if name != except_for and process.poll() is not None:
                raise DemoFailed(
                    f"{name} ended with exit code {process.returncode}:\n{self._tail(name)}"
                )

    def _tail(self, name: str) -> str:
        path = self.logs / f"{name}.log"
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        return "\n".join(
            ["  " + line for line in text.splitlines()[-15:]] + [f"(all of it: {path})"]
        )

    def _get(self, path: str) -> Any:
        request = _request(self._url + path, self._token)
        try:
            with _OPENER.open(request, timeout=30) as answer:
                return json.load(answer)
        except (urllib.error.URLError, TimeoutError) as error:
            raise DemoFailed(f"The coordinator does not answer ({error}).") from error


class Follower:
    """Follows the events of the farm in a thread, and says in one line how the job goes."""

    def __init__(self, url: str, token: str, frames: int) -> None:
        self._frames = frames
        self._job: dict[str, Any] = {}
        self._nodes: dict[str, str] = {}
        self._done_by: dict[int, str] = {}
        self._shown = ""
        self._over = threading.Event()
        self._url, self._token = url, token
        self._thread = threading.Thread(target=self._follow, name="events", daemon=True)

    def __enter__(self) -> Follower:
        """Begin to listen."""
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """Listen no more; the thread ends with the connection."""
        self._over.set()

    def _follow(self) -> None:
        last = 0
        while not self._over.is_set():
            try:
                request = _request(f"{self._url}/api/v1/events?after={last}", self._token)
                # The stream sends a comment every 15 s: silence for a minute is a dead connection.
                with _OPENER.open(request, timeout=60) as stream:
                    for event in _events(stream):
                        last = max(last, event["sequence"])
                        self._take(event)
                        if self._over.is_set():
                            return
            except (OSError, ValueError):
                # The farm is being restarted or stopped; `press` tells how the job ended.
                self._over.wait(0.5)

    def _take(self, event: dict[str, Any]) -> None:
        if event["kind"] == "job" and event.get("job"):
            self._job = event["job"]
        elif event["kind"] == "node" and event.get("node"):
            self._nodes[event["node"]["id"]] = event["node"]["name"]
        elif event["kind"] == "frame" and event.get("frame"):
            frame = event["frame"]
            if frame["state"] == "done":
                self._done_by[frame["frame"]] = frame["node"]

    def line(self) -> str:
        """How far the job is."""
        counts = self._job.get("counts", {})
        done = counts.get("done", 0)
        bar = "█" * (BAR * done // self._frames)
        text = f"{bar:░<{BAR}} {done}/{self._frames} frames"
        if not self._job:
            return f"{text}, scene on its way"
        eta = self._job.get("eta_seconds")
        if done < self._frames and eta is not None:
            text += f", about {eta:.0f} s left"
        working: Sequence[str] = self._job.get("nodes", ())
        rendering = sorted(self._nodes.get(node, node[:8]) for node in working)
        if rendering and done < self._frames:
            text += f", on {' and '.join(rendering)}"
        return text

    def show(self) -> None:
        """Draw the line if it has changed; where there is no terminal, every quarter of the job."""
        line = self.line()
        if sys.stdout.isatty():
            if line != self._shown:
                print(f"\r{line}\x1b[K", end="", flush=True)
                self._shown = line
            return
        done = self._job.get("counts", {}).get("done", 0)
        step = str(4 * done // self._frames)
        if step != self._shown:
            say(line)
            self._shown = step

    def shares(self) -> list[str]:
        """What each node rendered, one text each."""
        shares: dict[str, int] = {}
        for node in self._done_by.values():
            name = self._nodes.get(node, node[:8])
            shares[name] = shares.get(name, 0) + 1
        return [f"{name}: {count} frames" for name, count in sorted(shares.items())]


# No proxy: the coordinator is on this machine.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _request(url: str, token: str) -> urllib.request.Request:
    return urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})


def _events(stream: Any) -> Iterator[dict[str, Any]]:
    for line in stream:
        if line.startswith(b"data:"):
            yield json.loads(line[5:])


def _script(name: str) -> str:
    return str(Path(__file__).resolve().with_name(name))


def _clean_environment(home: Path) -> dict[str, str]:
    """An environment in which this demo meets no farm, proxy or Blender setting of the user."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith("_proxy")
        and not name.startswith(("RENDERMILL_", "BLENDER_", "PYTHON"))
    }
    return {
        **kept,
        "RENDERMILL_HOME": str(home),
        "RENDERMILL_INTERFACE": "127.0.0.1",
        "BLENDER_USER_RESOURCES": str(home / "blender"),
        "PYTHONUNBUFFERED": "1",
    }


def _first_line(process: subprocess.Popen[bytes], seconds: float) -> str:
    """The first line a process prints; '' if it ends or stays silent."""
    lines: list[str] = []

    def read() -> None:
        assert process.stdout is not None
        lines.append(process.stdout.readline().decode("utf-8", "replace"))
        # Whatever follows must not fill the pipe.
        for _ in process.stdout:
            pass

    threading.Thread(target=read, daemon=True).start()
    end = time.monotonic() + seconds
    while not lines and time.monotonic() < end:
        time.sleep(0.05)
    return lines[0].strip() if lines else ""


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, and end it with its group when it does not."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
    if sys.platform == "win32":
        process.kill()
    else:
        # Also when it has ended: its group may still hold a child.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _sweep(home: Path) -> None:
    """End what escaped its group: every process that has this demo's home in its environment."""
    mark = f"RENDERMILL_HOME={home}\0".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (folder / "environ").read_bytes() + b"\0":
                os.kill(int(folder.name), signal.SIGKILL)


if __name__ == "__main__":
    raise SystemExit(main())
