"""Where Rendermill keeps its files on this machine, and who the user is.

``RENDERMILL_HOME=DIR`` puts everything below one folder (``DIR/config``, ``DIR/data``,
``DIR/cache``), as tests and the demo do; otherwise the folders of the operating system are used.
No function here creates a folder.
"""

from __future__ import annotations

import getpass
import os
import socket
from pathlib import Path

import platformdirs

APP = "rendermill"
HOME_VARIABLE = "RENDERMILL_HOME"


def config_dir() -> Path:
    """Folder of credentials: small, precious, private to the user."""
    home = _home()
    return home / "config" if home else Path(platformdirs.user_config_dir(APP, appauthor=False))


def data_dir() -> Path:
    """Folder of what must survive: the coordinator's database and blobs, a node's outbox."""
    home = _home()
    return home / "data" if home else Path(platformdirs.user_data_dir(APP, appauthor=False))


def cache_dir() -> Path:
    """Folder of what may be deleted at any time and costs only time to make again."""
    home = _home()
    return home / "cache" if home else Path(platformdirs.user_cache_dir(APP, appauthor=False))


def _home() -> Path | None:
    text = os.environ.get(HOME_VARIABLE, "").strip()
    return Path(text).expanduser().absolute() if text else None


def user_label() -> str:
    """Return ``user@host``, for people and for fair shares between them; never for permission."""
    try:
        user = getpass.getuser()
    # A container may run under a user id that has no name (KeyError; OSError since Python 3.13).
    except (KeyError, OSError, ImportError):
        user = f"uid{os.getuid()}" if hasattr(os, "getuid") else "user"
    return f"{user}@{socket.gethostname() or 'localhost'}"
