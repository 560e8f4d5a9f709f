"""``rendermill node`` as a process: what it prints, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rendermill.protocol.messages import Goodbye, Hello

from .coordinator import Coordinator

COMMAND = (
    "import sys, argparse\n"
    "from rendermill.commands import node\n"
    "parser = argparse.ArgumentParser()\n"
    "node.add_arguments(parser)\n"
    "sys.exit(node.run(parser.parse_args()))\n"
)


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", COMMAND, *words],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["--coordinator", "localhost", "--join", "x"], 2, "not a join token"),
        (["--threads", "0"], 2, "number of threads"),
        (["--cache-size", "none"], 2, "size in GB"),
        (["--grace", "-1"], 2, "time in seconds"),
        (["--blender", "/nowhere/blender"], 1, "There is no file /nowhere/blender"),
        (["--data", "/proc/none"], 1, "cannot be written"),
    ],
)
def test_wrong_use_is_a_sentence(home: Path, words: list[str], code: int, sentence: str) -> None:
    done = run(*words)
    assert sentence in done.stderr
    assert done.returncode == code
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="signals are another matter on Windows")
async def test_a_node_says_what_it_does_and_leaves_in_good_order(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        COMMAND,
        "--json",
        "--name",
        "mill",
        "--tag",
        "fast",
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    lines: list[dict[str, object]] = []
    try:
        # It asks every Blender first what it can do.
        async with asyncio.timeout(600):
            while not any(line["event"] == "ready" for line in lines):
                lines.append(json.loads(await process.stdout.readline()))
        hello = await coordinator.hears(Hello)
        assert (hello.name, hello.machine.tags) == ("mill", ("fast",))
        # The same name once more is the same node, and that one is running.
        second = await asyncio.to_thread(run, "--name", "mill")
        assert second.returncode == 1
        assert "Another node runs in" in second.stderr
        process.send_signal(signal.SIGTERM)
        rest, _ = await process.communicate()
        lines += [json.loads(line) for line in rest.splitlines()]
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    assert process.returncode == 0
    await coordinator.hears(Goodbye)
    events = [line["event"] for line in lines]
    assert events[0] == "starting"
    assert events[-1] == "stopped"
    assert {"probing", "blender", "connected"} <= set(events)
