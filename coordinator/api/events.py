"""The event stream: server-sent events of everything that changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus

from aiohttp import web

from ..feed import EventFeed, Told
from . import guard, keys
from .bodies import query_int
from .problems import Refused

COMMENT_SECONDS = 15.0
"""Silence after which a comment keeps the line alive and shows a dead one."""
GATHER_SECONDS = 0.25
"""Least time between two looks at news that had to be waited for: the first of a burst is told at
once, the rest of it together. To write each event by itself costs both ends more than the event."""
WRITE_SECONDS = 30.0
"""A follower that takes nothing for so long is let go; it comes back by its last number."""
WRITE_MAX_BYTES = 256 * 1024
"""Written at once: what waits for a slow follower lies in the ring and not here for each."""
FOLLOWERS_MAX = 500

FOLLOWERS = web.AppKey("followers", set[asyncio.Task[None]])


def routes() -> list[web.RouteDef]:
    """Return the routes of this theme."""
    # Without HEAD, whose answer would have no end either.
    return [web.get("/api/v1/events", follow, allow_head=False)]


@guard.serves(*guard.SEE)
async def follow(request: web.Request) -> web.StreamResponse:
    """Send events from a given number on, until the follower leaves."""
    feed = request.app[keys.CONDUCTOR].feed
    followers = request.app[FOLLOWERS]
    if len(followers) >= FOLLOWERS_MAX:
        raise Refused(
            HTTPStatus.SERVICE_UNAVAILABLE, "Too many follow this farm already.", Retry_After="30"
        )
    job = request.query.get("job", "")
    after = request.headers.get("Last-Event-ID", "")
    if after:
        # Anything that is no number of ours is answered as what it is: events that are gone.
        position = int(after) if after.isascii() and after.isdigit() and len(after) <= 20 else -1
    else:
        asked = query_int(request, "after")
        position = feed.sequence if asked is None else asked
    response = web.StreamResponse(headers={"X-Accel-Buffering": "no"})
    response.content_type = "text/event-stream"
    await response.prepare(request)
    member, tokens = request[keys.MEMBER].id, request.app[keys.TOKENS]
    task = asyncio.create_task(
        _send(response, feed, position, job, lambda: tokens.knows(member)), name="event follower"
    )
    followers.add(task)
    try:
        with feed.followed(), tokens.watched(member, task.cancel):
            await task
    except (TimeoutError, ConnectionError):
        # Too slow or gone. Without the connection nothing can be told any more.
        if request.transport is not None:
            request.transport.abort()
    except asyncio.CancelledError:
        # Of the task alone: the coordinator stops, or the token was revoked.
        if not task.cancelled():
            task.cancel()
            raise
    finally:
        followers.discard(task)
    return response


async def _send(
    response: web.StreamResponse,
    feed: EventFeed,
    position: int,
    job: str,
    is_let_in: Callable[[], bool],
) -> None:
    # At once, so that a follower knows that it follows.
    await _write(response, b": following\n\n")
    now = asyncio.get_running_loop().time
    said = now()
    looked = said - GATHER_SECONDS
    # A token that is revoked ends the stream; whoever comes back with it is told why.
    while is_let_in():
        text = b""
        news = feed.since(position, WRITE_MAX_BYTES)
        if news is None:
            position = feed.sequence
            text = _frame(position, feed.reset_event())
        elif news:
            position = news[-1].sequence
            text = b"".join(
                _frame(told.sequence, told.data) for told in news if _concerns(told, job)
            )
        quiet = now() - said
        if not text and quiet >= COMMENT_SECONDS:
            # An id without data is no event and counts all the same: whoever follows one job may
            # come back after any number of events of others, and has missed nothing.
            text = b": still here\nid: %d\n\n" % position
        if text:
            await _write(response, text)
            said = now()
        elif not news and await feed.wait(COMMENT_SECONDS - quiet):
            await asyncio.sleep(looked + GATHER_SECONDS - now())
            looked = now()


def _concerns(told: Told, job: str) -> bool:
    return not job or told.job_id == job or (told.kind == "reset" and not told.job_id)


def _frame(sequence: int, data: bytes) -> bytes:
    return b"id: %d\ndata: %s\n\n" % (sequence, data)


async def _write(response: web.StreamResponse, text: bytes) -> None:
    async with asyncio.timeout(WRITE_SECONDS):
        await response.write(text)


async def end_followers(app: web.Application) -> None:
    """Signal ``on_shutdown``: let every follower go, so that the server can stop."""
    for task in tuple(app[FOLLOWERS]):
        task.cancel()
