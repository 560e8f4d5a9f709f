"""What handlers find in the application, by type."""

from __future__ import annotations

from dataclasses import dataclass, field

from aiohttp import web

from ..conductor import Conductor
from ..drafts import DraftDesk
from ..identity.joining import JoinDesk
from ..identity.roles import Member
from ..identity.tokens import TokenBook
from ..logbook import LogBook
from ..results import ResultChecks
from ..store.collection import Collector
from ..store.store import Store


@dataclass(slots=True)
class FarmIdentity:
    """Who this farm is, and how it may be addressed."""

    name: str
    id: str
    software: str
    is_tls: bool
    hosts: frozenset[str] = field(default_factory=frozenset)
    """Names a Host header may carry, lower-case; IP addresses are always allowed."""


CONDUCTOR = web.AppKey("conductor", Conductor)
STORE = web.AppKey("store", Store)
TOKENS = web.AppKey("tokens", TokenBook)
JOIN_DESK = web.AppKey("join_desk", JoinDesk)
DRAFTS = web.AppKey("drafts", DraftDesk)
RESULT_CHECKS = web.AppKey("result_checks", ResultChecks)
LOG_BOOK = web.AppKey("log_book", LogBook)
COLLECTOR = web.AppKey("collector", Collector)
IDENTITY = web.AppKey("identity", FarmIdentity)
MEMBER = web.RequestKey("member", Member)
"""Who makes this request; set by `guard` for every route that has roles."""
