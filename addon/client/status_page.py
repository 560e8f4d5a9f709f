"""The way from this machine to the farm's status page, signed in."""

from __future__ import annotations

import html
import os
import tempfile
from pathlib import Path

from ...wire import credentials, places


def write_way_in(url: str, where: str) -> Path:
    """Write a page, readable by this user alone, that leads to the status page and signs in.

    An address with the token in it would be seen by every user of this computer in the command
    line of the browser. Raises OSError.
    """
    known = [farm for farm in (credentials.load_local(), *credentials.saved_farms()) if farm]
    token = next((farm.token for farm in known if farm.url == url), "")
    target = f"{url}/#token={token}&to={where}" if token else f"{url}/#{where}"
    folder = places.cache_dir()
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "open-farm.html"
    text = (
        "<!doctype html><meta charset=utf-8><title>Rendermill</title>"
        '<meta name=referrer content=no-referrer><meta http-equiv=refresh content="0; url='
        f'{html.escape(target, quote=True)}">'
    )
    # mkstemp makes the file 0600 from the start.
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=".open-farm.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).replace(page)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return page
