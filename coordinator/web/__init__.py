"""The status page: static files a browser loads as they lie here, with no build step.

The page is an ordinary client of the REST interface and of the event stream (`protocol.views`);
nothing in it is rendered on the server. Whoever serves it answers ``GET /`` with `INDEX` and
``GET /static/...`` with the files below `STATIC_DIR`, each with `CONTENT_SECURITY_POLICY`.
"""

from __future__ import annotations

from pathlib import Path

STATIC_DIR = Path(__file__).resolve().parent / "static"
"""Folder of every file the page loads; served under ``/static/``."""

INDEX = STATIC_DIR / "index.html"
"""The page itself: a shell that shows nothing until its visitor has signed in."""

CONTENT_SECURITY_POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'"
)
"""The page needs no more: no inline script or style, no other origin, no frame around it."""
