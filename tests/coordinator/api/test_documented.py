"""docs/protocol.md names every call there is, and none that there is not."""

from __future__ import annotations

import re
from pathlib import Path

from rendermill.coordinator.app import RunningCoordinator
from rendermill.protocol.messages import CoordinatorMessage, NodeMessage

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "protocol.md").read_text("utf-8")

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
OF_THE_PAGE = {("GET", "/"), ("GET", "/static/{}")}
"""What a browser fetches to show the status page; said in words."""


def documented() -> set[tuple[str, str]]:
    """Method and path of every call on the page, with ``{}`` for what varies."""
    calls: set[tuple[str, str]] = set()
    for line in PAGE.splitlines():
        method, before = "", ""
        for span in re.findall(r"`([^`]+)`", line):
            words = span.split()
            if words[0] in METHODS and len(words) > 1:
                method, path = words[0], words[1]
            elif method and re.fullmatch(r"/[\w/{}-]+", span):
                path = span
            else:
                continue
            path = re.sub(r"\{[^}]*\}", "{}", path.partition("?")[0])
            if not path.startswith("/api/") and path != "/health":
                # `/pause` beside `POST .../cancel`: the same but for its last word; and
                # `/nodes/{}/drain` beside calls below `/api/v1`.
                inner = path.count("/") > 1
                path = f"/api/v1{path}" if inner else f"{before.rpartition('/')[0]}{path}"
            calls.add((method, path))
            before = path
    return calls


async def test_every_call_is_on_the_page_and_no_other(coordinator: RunningCoordinator) -> None:
    served = {
        (route.method, re.sub(r"\{[^}]*\}", "{}", resource.canonical))
        for resource in coordinator.app.router.resources()
        for route in resource
        if route.method != "HEAD"
    }
    assert served - OF_THE_PAGE == documented()


def test_the_messages_it_draws_are_messages() -> None:
    known = {kind.__name__ for union in (NodeMessage, CoordinatorMessage) for kind in args(union)}
    drawn = PAGE.partition("node                                coordinator")[2].partition("```")[0]
    named = set(re.findall(r"\b[A-Z][a-z]+[A-Z]?\w*\b", re.sub(r"\([^)]*\)", "", drawn)))
    named -= {"PUT", "HTTP"}
    assert named
    assert named <= known


def args(union: object) -> tuple[type, ...]:
    from typing import get_args

    return get_args(union)
