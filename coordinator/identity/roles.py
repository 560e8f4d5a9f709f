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


class Permission(str, Enum):
    """What a person may do; the page leaves out whatever its visitor may not."""

    SEE = "see"
    SUBMIT = "submit"
    """Send scenes and queue jobs."""
    STEER = "steer"
    """Pause, resume, cancel, retry, remove jobs."""
    NODES = "nodes"
    """Take nodes out of service and back, and change their settings."""


PERMISSIONS: dict[Role, tuple[Permission, ...]] = {
    Role.VIEW: (Permission.SEE,),
    Role.SUBMIT: (Permission.SEE, Permission.SUBMIT, Permission.STEER),
    Role.ADMIN: (Permission.SEE, Permission.SUBMIT, Permission.STEER, Permission.NODES),
    Role.NODE: (),
}


@dataclass(frozen=True, slots=True)
class Member:
    """The holder of a token that was shown and found good."""

    id: str
    """Id of the token, 16 hex digits; tells members apart in logs without telling their secret."""
    name: str
    """What the holder called itself when it joined, for people."""
    role: Role
