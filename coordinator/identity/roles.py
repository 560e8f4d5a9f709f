"""What a token lets its holder do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Role(str, Enum):
    """A token has exactly one role."""

    ADMIN = "admin"
    """Everything, also nodes and other people's jobs."""
    SUBMIT = "submit"
    """See everything, send scenes and jobs, steer jobs."""
    NODE = "node"
    """Be a node: take frames, fetch scenes, deliver results."""
    VIEW = "view"
    """See everything, change nothing."""


@dataclass(frozen=True, slots=True)
class Member:
    """The holder of a token that was shown and found good."""

    id: str
    """Id of the token, 16 hex digits; tells members apart in logs without telling their secret."""
    name: str
    """What the holder called itself when it joined, for people."""
    role: Role
