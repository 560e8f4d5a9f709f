"""The command that runs this very Rendermill in a process of its own, wherever it lies.

As a Blender extension the package has another name and its libraries lie in Blender's folder of
wheels; the command says where both are, so Blender's own Python runs what pip's would.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]

_START = """
import importlib.util, json, sys
where = json.loads(sys.argv.pop(1))
sys.path += [path for path in where["paths"] if path not in sys.path]
spec = importlib.util.spec_from_file_location(
    "rendermill", where["package"] + "/__init__.py",
    submodule_search_locations=[where["package"]])
package = importlib.util.module_from_spec(spec)
sys.modules["rendermill"] = package
spec.loader.exec_module(package)
sys.argv[0] = "rendermill"
from rendermill.commands import main
raise SystemExit(main())
"""


def command(words: Sequence[str], *, python: str = "", paths: Sequence[str] = ()) -> list[str]:
    """Return the command line that runs ``rendermill WORDS``.

    ``python``: the interpreter; '': this one, which inside Blender is Blender's. ``paths``:
    folders with libraries besides those it finds itself; none: those this process has found
    outside its own installation.
    """
    where = {"package": str(PACKAGE), "paths": list(paths) or _libraries()}
    # -s: what lies in the user's own site-packages was never tried with this.
    return [python or sys.executable, "-s", "-c", _START, json.dumps(where), *words]


def _libraries() -> list[str]:
    own = (Path(sys.prefix), Path(sys.base_prefix))
    return [
        entry
        for entry in sys.path
        if Path(entry).name == "site-packages"
        and not any(Path(entry).is_relative_to(prefix) for prefix in own)
    ]
