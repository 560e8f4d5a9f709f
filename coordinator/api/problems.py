"""Every error leaves as ``application/problem+json`` (RFC 9457), whatever raised it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from aiohttp import web

from ...protocol.codec import CodecError, encode_json
from ...protocol.views import Problem
from ..acceptance import ChunksMissing, NotAcceptable
from ..farm.events import FarmRefusal, Refusal
from ..store import DiskFull, StoreError
from ..store.blobs import WrongHash

_log = logging.getLogger(__name__)

MISSING_MAX = 4096
"""Most missing hashes in an answer; who asks again gets the rest."""


class Refused(Exception):
    """A request that gets ``status`` and one sentence; raised by handlers."""

    def __init__(self, status: HTTPStatus, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def problem_response(
    status: int,
    detail: str,
    *,
    missing: tuple[str, ...] = (),
    headers: dict[str, str] | None = None,
) -> web.Response:
    """Return a problem as an answer."""
    problem = Problem(title=_title(status), status=status, detail=detail, missing=missing)
    return web.Response(
        status=status,
        body=encode_json(problem),
        content_type="application/problem+json",
        headers=headers,
    )


@web.middleware
async def answer_problems(  # noqa: PLR0911 - a table, one line for each kind of error
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Turn whatever a handler raises into its problem. Outermost of the middlewares."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        keep = {name: error.headers[name] for name in ("Allow",) if name in error.headers}
        return problem_response(error.status, _sentence(error, request), headers=keep)
    except Refused as error:
        return problem_response(error.status, str(error), headers=error.headers)
    except FarmRefusal as error:
        status = HTTPStatus.NOT_FOUND if error.kind is Refusal.UNKNOWN else HTTPStatus.CONFLICT
        return problem_response(status, str(error))
    except ChunksMissing as error:
        return problem_response(
            HTTPStatus.CONFLICT, str(error), missing=tuple(error.missing[:MISSING_MAX])
        )
    except (NotAcceptable, WrongHash) as error:
        return problem_response(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
    except CodecError as error:
        return problem_response(HTTPStatus.BAD_REQUEST, str(error))
    except DiskFull as error:
        return problem_response(HTTPStatus.INSUFFICIENT_STORAGE, str(error))
    except StoreError as error:
        return problem_response(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
    except ConnectionError:
        raise  # The caller went away; there is nobody to answer.
    except Exception:  # noqa: BLE001 - the caller gets an answer, the log the trace
        _log.exception("handler failed: method=%s path=%s", request.method, request.path)
        return problem_response(
            HTTPStatus.INTERNAL_SERVER_ERROR,
            "The coordinator made a mistake over this request; its log says where.",
        )


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def _sentence(error: web.HTTPException, request: web.Request) -> str:
    match error.status:
        case HTTPStatus.NOT_FOUND:
            return f"There is nothing at {request.path[:200]}."
        case HTTPStatus.METHOD_NOT_ALLOWED:
            return f"{request.path[:200]} does not know {request.method[:20]}."
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return "The body of the request is too long."
        case _:
            return error.text or error.reason
