"""What may go wrong between a member and its coordinator. Each message is one sentence or two
that a user can act on; nothing of aiohttp leaves this package."""

from __future__ import annotations

from ..protocol.views import Problem


class FarmError(Exception):
    """Something between this machine and the farm failed; the text is for people."""


class NoCoordinator(FarmError):
    """No coordinator is known or seen on the network."""


class NothingFound(NoCoordinator):
    """Nobody gave an address, and no farm was found; ``tried`` says of each known one why."""

    def __init__(self, tried: tuple[str, ...]) -> None:
        super().__init__(
            "No coordinator found: start one on this machine with `rendermill coordinator`, or "
            "join the one of your farm with `rendermill join TOKEN` (it prints the token when it "
            "starts)." + "".join(f" Tried: {sentence}" for sentence in tried)
        )
        self.tried = tried


class Unreachable(FarmError):
    """The coordinator does not answer, and kept silent for as long as we were willing to try.

    ``detail``: what the operating system says of it, which only a technical director can use.
    """

    def __init__(self, sentence: str, detail: str = "") -> None:
        super().__init__(f"{sentence} ({detail})" if detail else sentence)
        self.sentence = sentence


class NotAllowed(FarmError):
    """The token is missing, wrong, or of a role that may not do this; or the certificate is not
    the one that was pinned when the farm was joined."""


class NotJoined(NotAllowed):
    """A farm answers at ``url``, and this machine was never let into it."""

    def __init__(self, url: str) -> None:
        super().__init__(
            f"This machine has not joined the farm at {url}; join it with "
            "`rendermill join TOKEN` (its coordinator prints the token when it starts)."
        )
        self.url = url


class ShutOut(NotAllowed):
    """The coordinator does not know the token of this machine: it was revoked, for instance."""


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
