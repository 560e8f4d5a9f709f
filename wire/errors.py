"""What may go wrong between a member and its coordinator. Each message is one sentence or two
that a user can act on; nothing of aiohttp leaves this package."""

from __future__ import annotations

from ..protocol.views import Problem


class FarmError(Exception):
    """Something between this machine and the farm failed; the text is for people."""


class NoCoordinator(FarmError):
    """No coordinator is known or seen on the network."""


class Unreachable(FarmError):
    """The coordinator does not answer, and kept silent for as long as we were willing to try."""


class NotAllowed(FarmError):
    """The token is missing, wrong, or of a role that may not do this; or the certificate is not
    the one that was pinned when the farm was joined."""


class ProtocolMismatch(FarmError):
    """The coordinator speaks another version of the protocol."""


class Refused(FarmError):
    """The coordinator understood and said no; ``problem`` is its answer."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail or problem.title)
        self.problem = problem


class NotFound(Refused):
    """What was asked for does not exist on this farm (status 404)."""


class Damaged(FarmError):
    """Bytes that do not hash to their name, a file that changed while it was sent, or an answer
    that cannot be read."""
