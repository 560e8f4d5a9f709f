"""The command line against a farm of real processes: control, listings, exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from .conftest import wait_until

SHORT = 4
ENDLESS = 1_000_000
"""Samples that make a frame of the small scene take many minutes: whatever a command does while it
is rendered comes in time, however busy the machine is."""


def last_json(text: str) -> dict:
    return json.loads(text.splitlines()[-1])


def test_jobs_are_paused_resumed_cancelled_and_retried(
    farm, scenes: Callable[[int, int], Path]
) -> None:
    blend, endless = scenes(SHORT, 3), scenes(ENDLESS, 3)
    farm.start_coordinator()
    # Without a node the job waits, and says what for.
    job = last_json(farm.command("submit", str(blend), "--json").stdout)["id"]
    assert farm.job(job)["state"] == "queued"
    assert farm.job(job)["waiting_because"]
    assert farm.command("pause", job).returncode == 0
    unwanted = last_json(farm.command("submit", str(blend), "--json").stdout)["id"]
    assert farm.command("cancel", unwanted).returncode == 0
    assert farm.job(unwanted)["state"] == "cancelled"
    farm.start_node("one")
    farm.wait_ready(["one"])
    assert farm.node("one")["state"] == "idle"
    assert farm.job(job)["paused"]
    assert farm.job(job)["counts"]["done"] == 0

    assert farm.command("resume", job).returncode == 0
    wait_until(lambda: farm.job(job)["state"] == "done", "what was resumed is done")
    assert farm.command("retry", unwanted).returncode == 0
    wait_until(lambda: farm.job(unwanted)["state"] == "done", "what was retried is done")

    running = last_json(farm.command("submit", str(endless), "--json").stdout)["id"]
    wait_until(lambda: farm.node("one")["state"] == "rendering", "a frame is rendered")
    cancelled = farm.command("cancel", running)
    assert cancelled.returncode == 0, cancelled.stderr
    wait_until(lambda: farm.node("one")["state"] == "idle", "the node is free again")
    counts = farm.job(running)["counts"]
    assert farm.job(running)["state"] == "cancelled"
    assert counts["cancelled"] == 3
    # Said twice, nothing more happens; a script that lost the answer may ask again.
    assert farm.command("cancel", running).returncode == 0
    assert farm.job(running)["counts"] == counts

    # What is done cannot be cancelled any more, and the refusal is one sentence.
    late = farm.command("cancel", job)
    assert late.returncode == 1
    assert len(late.stderr.strip().splitlines()) == 1
    fetched = farm.command("fetch", job)
    assert fetched.returncode == 0, fetched.stderr
    assert len(list((blend.parent / "render").iterdir())) == 3

    # Listings are for people, or one line for a script.
    for words in (["jobs"], ["nodes"], ["job", job]):
        people, script = farm.command(*words), farm.command(*words, "--json")
        assert people.returncode == script.returncode == 0
        assert people.stdout.strip()
        assert len(script.stdout.strip().splitlines()) == 1
        json.loads(script.stdout)
    assert farm.command("doctor").returncode == 0


def test_exit_codes_say_what_went_wrong(
    farm, scenes: Callable[[int, int], Path], tmp_path: Path
) -> None:
    nobody = farm.command("jobs")
    assert nobody.returncode == 3
    assert "rendermill coordinator" in nobody.stderr

    farm.start_coordinator()
    nothing = farm.command("job", "no-such-job")
    assert nothing.returncode == 2
    assert "no job no-such-job" in nothing.stderr
    assert farm.command("submit").returncode == 2
    broken = tmp_path / "broken.blend"
    broken.write_bytes(b"BLENDER-v405 and then nothing that makes sense")
    unreadable = farm.command("submit", str(broken))
    assert unreadable.returncode == 1
    assert "broken.blend" in unreadable.stderr
    missing = farm.command("submit", str(tmp_path / "nowhere.blend"))
    assert missing.returncode == 2
    assert "nowhere.blend" in missing.stderr
    empty = farm.command("submit", str(scenes(1, 1)), "--frames", "5-1")
    assert empty.returncode == 2
    assert "1-5" in empty.stderr

    local = farm.folder / "home" / "config" / "local.json"
    good = local.read_text()
    local.write_text(good.replace(json.loads(good)["token"], "0" * 64))
    assert farm.command("jobs").returncode in (3, 4)
    local.write_text(good)


def test_a_missing_texture_is_said_before_anything_is_sent(
    farm, scenes: Callable[[int, int], Path]
) -> None:
    blend = scenes(1, 1)
    (blend.parent / "textures" / "noise.png").unlink()
    farm.start_coordinator()
    farm.start_node("one")
    refused = farm.command("submit", str(blend))
    assert refused.returncode == 1
    assert "noise.png" in refused.stderr
    assert farm.ask("GET", "/api/v1/jobs")["jobs"] == []

    sent = farm.command("submit", str(blend), "--send-anyway", "--wait")

    assert sent.returncode == 0, sent.stdout + sent.stderr
    assert len(list((blend.parent / "render").iterdir())) == 1
    job = farm.ask("GET", "/api/v1/jobs")["jobs"][0]["id"]
    frame = farm.ask("GET", f"/api/v1/jobs/{job}/frames")["frames"][0]
    assert any("noise.png" in warning for warning in frame["warnings"])
