"""The one Python file that goes into Blender, put together from real modules.

The text is the same for every job: what differs from job to job travels as JSON. So a job's script
can be read by anyone, and run by hand::

    blender -b --factory-startup --python SCRIPT.py -- PARAMS.json
    python SCRIPT.py PARAMS.json          # with the bpy module

The two modules shared with the add-on are read as text, for nothing of the add-on is imported here.
"""

from __future__ import annotations

import dataclasses
import json
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from ...protocol.job import JobSpec

PACKAGE = "rendermill_job"
"""Name of the package the modules form inside Blender."""

RENDER_MODULES = (
    "compat",
    "socket_texts",
    "paths",
    "reply",
    "progress",
    "problems",
    "thumbnail",
    "scene",
    "frame",
    "encode",
    "session",
)
"""In order of their imports; the last one has ``main``."""

SHARED_MODULES = frozenset({"compat", "paths", "socket_texts"})
"""Those that lie in ``addon/scene``."""

_HEADER = '''\
"""Made by Rendermill: renders frames of a .blend inside Blender.

    blender -b --factory-startup --python THIS_FILE -- PARAMS.json
    python THIS_FILE PARAMS.json          with the bpy module

PARAMS.json is {"workspace": folder of the scene's files, "output": folder for the pictures,
"frames": [1, 2], "spec": the job}. Each MODULES entry below is one module, word for word.
"""

import ctypes
import json
import linecache
import os
import signal
import sys
import threading
import traceback
import types

MODULES = {}
'''

_FOOTER = '''

def load_modules():
    """Make the texts above the modules of one package; return the last, which has main()."""
    package = types.ModuleType(PACKAGE)
    package.__path__ = []
    sys.modules[PACKAGE] = package
    for name, text in MODULES.items():
        module = types.ModuleType(f"{PACKAGE}.{name}")
        module.__package__ = PACKAGE
        module.__file__ = f"<{PACKAGE}/{name}.py>"
        sys.modules[module.__name__] = module
        # So that tracebacks show the line.
        linecache.cache[module.__file__] = (len(text), None, text.splitlines(True), module.__file__)
        exec(compile(text, module.__file__, "exec"), module.__dict__)
        setattr(package, name, module)
    return module


def read_parameters():
    """Return the JSON of the file named after "--", or of the first argument under Python."""
    arguments = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:]
    if not arguments:
        raise SystemExit("Name the JSON file with the parameters.")
    with open(arguments[0], encoding="utf-8") as file:
        return json.load(file)


def end_with_node(parameters):
    """End when the node that started this ends, however it ends: nobody would hear of the rest.

    By hand there is no node. Renders may keep every other thread of Python waiting, so the kernel
    is asked to do it where it can; a node in another process namespace has its own way.
    """
    node = parameters.get("node", 0)
    if sys.platform == "linux" and node and os.getppid() == node:
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
    if parameters.get("input_ends_with_node"):
        threading.Thread(target=end_with_input, daemon=True).start()


def end_with_input():
    """Wait for the end of standard input, on which nothing is ever sent."""
    while os.read(0, 1024):
        pass
    os._exit(1)


code = 1
try:
    parameters = read_parameters()
    end_with_node(parameters)
    code = load_modules().main(parameters)
except SystemExit as error:
    print(error, file=sys.stderr)
except BaseException:
    traceback.print_exc()
finally:
    # Blender may crash or hang while it tears itself down, long after the last frame is safe.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
'''


class ScriptError(ValueError):
    """A module that cannot be a part of a script as it is written."""


def generate(spec: JobSpec | None = None) -> str:
    """Return the script that renders; with ``spec``, a comment at its end shows that job."""
    text = compose(RENDER_MODULES)
    if spec is None:
        return text
    return text + _as_comment(spec)


@cache
def compose(modules: tuple[str, ...]) -> str:
    """Return a script made of these modules of ``scripts/`` and ``addon/scene``.

    The last one must have ``main(params) -> int``. Raises `ScriptError`.
    """
    parts = [_HEADER, f'PACKAGE = "{PACKAGE}"\n']
    for name in modules:
        text = module_source(name)
        if "'''" in text or text.rstrip().endswith("\\"):
            raise ScriptError(f"{name}.py has three single quotes in a row; use double quotes.")
        parts.append(f"\n# {'=' * 30} {name} {'=' * 30}\nMODULES[\"{name}\"] = r'''{text}'''\n")
    parts.append(_FOOTER)
    return "".join(parts)


def module_source(name: str) -> str:
    """Return the source text of one of the modules that run inside Blender."""
    root = resources.files(__package__.rsplit(".", 2)[0] if __package__ else "rendermill")
    folder = ("addon", "scene") if name in SHARED_MODULES else ("node", "blender", "scripts")
    return root.joinpath(*folder, f"{name}.py").read_text("utf-8")


def spec_fields(spec: JobSpec) -> dict[str, Any]:
    """Return a job as the plain values that travel into Blender."""
    return dataclasses.asdict(spec)


def parameters(
    spec: JobSpec, workspace: Path, output: Path, frames: tuple[int, ...]
) -> dict[str, Any]:
    """Return what PARAMS.json must hold to render frames by hand."""
    return {
        "workspace": str(workspace),
        "output": str(output),
        "frames": list(frames),
        "spec": spec_fields(spec),
    }


def command_line(program: Path, is_module: bool, source: Path, parameters: Path) -> list[str]:
    """Return the command that runs such a script in a Blender, with nobody's settings."""
    if is_module:
        return [str(program), "-P", str(source), str(parameters)]
    return [
        str(program),
        "--background",
        "--factory-startup",
        "-noaudio",
        "--offline-mode",
        "--python-exit-code",
        "3",
        "--python",
        str(source),
        "--",
        str(parameters),
    ]


def _as_comment(spec: JobSpec) -> str:
    # Pure ASCII and every line a comment: nothing an artist types can become code.
    body = json.dumps(spec_fields(spec), indent=1, ensure_ascii=True)
    lines = "\n".join(f"# {line}" for line in body.splitlines())
    return f'\n# "spec" of this job:\n{lines}\n'
