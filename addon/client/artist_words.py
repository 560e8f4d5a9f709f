"""What an error is called in Blender, where nobody has a terminal.

The text of an error is for the command line too and may name its commands; in Blender there are
buttons instead.
"""

from __future__ import annotations

from ...wire.errors import NothingFound, NotJoined, ShutOut, Unreachable
from .errors import FolderNeeded


def artist_sentence(error: Exception) -> str:
    """Return what to say in Blender about an error: what is wrong, and what to do there."""
    match error:
        case NothingFound(tried=tried):
            found = "No farm was found. Start one on this computer, or paste the join token of one "
            return found + "in the preferences." + "".join(f" Tried: {each}" for each in tried)
        case NotJoined(url=url):
            return (
                f"This computer has not joined the farm at {url}. Ask for its join token, paste it "
                "in the preferences and press Join."
            )
        case ShutOut():
            return (
                "This computer is not let into the farm any more: its token was revoked. Ask for "
                "the join token, paste it in the preferences and press Join."
            )
        case Unreachable(sentence=sentence):
            return sentence
        case FolderNeeded(what=what):
            return f"{what} The farm keeps the frames: they can be saved from its web page."
        case _:
            return str(error)
