"""How many connections the system lets this process hold: raised to what it allows at all.

Every node, browser and artist takes one open file; many systems begin at 1,024 or fewer.
"""

from __future__ import annotations

import sys

WANTED_FILES = 16_384
"""Thousands of nodes, and room for blobs in flight."""
ENOUGH_FILES = 4096
"""Below this a farm of some size runs into the limit, and its owner should know before."""


def raise_open_files() -> str:
    """Raise the limit of open files; return a sentence for people when it stays low, else ''."""
    if sys.platform == "win32":
        return ""  # Sockets are not counted there.
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, WANTED_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        except (ValueError, OSError):
            most = soft  # macOS allows less than it says.
        soft = most
    if soft == resource.RLIM_INFINITY or soft >= ENOUGH_FILES:
        return ""
    return (
        f"This system lets the coordinator hold {soft} files and connections at once, about "
        f"{max(soft - 256, 0)} nodes; raise the hard limit (ulimit -Hn, or LimitNOFILE= of its "
        "service) for a larger farm."
    )
