"""The ``rendermill`` command: one module per subcommand.

A subcommand's module has ``add_arguments(parser)`` and ``run(args) -> int`` and is imported only
when it is asked for: ``rendermill jobs`` must not wait for the coordinator's database to be
imported. Exit codes: `exit_codes.ExitCode`.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import Any

from .. import __version__
from .exit_codes import ExitCode, UsageError

SUBCOMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("demo", "show the whole of it: a farm on this machine renders a bundled scene"),
    "coordinator": ("coordinator", "run the coordinator of a farm"),
    "node": ("node", "let this machine render for a farm"),
    "join": ("join", "join a farm with the token its coordinator prints"),
    "submit": ("submit", "send a .blend and render it on the farm"),
    "jobs": ("jobs", "list the jobs"),
    "job": ("job", "show one job and its frames"),
    "nodes": ("nodes", "list the nodes"),
    "watch": ("watch", "show what happens as it happens"),
    "fetch": ("fetch", "bring the frames of a job to this machine"),
    "cancel": ("control", "stop a job for good"),
    "pause": ("control", "hand out no more frames of a job"),
    "resume": ("control", "go on with a paused job"),
    "retry": ("control", "render failed, cancelled or given frames of a job again"),
    "change": ("change", "change who renders a job, how urgent it is, its order and its limits"),
    "approve": ("control", "the scout frames of a job are right: render the rest"),
    "reject": ("control", "the scout frames of a job are wrong: cancel it"),
    "remove": ("control", "delete an ended job with all that the farm keeps of it"),
    "drain": ("node_control", "let a node finish its frame and take no more"),
    "disable": ("node_control", "stop a node at once; its frames go to others"),
    "enable": ("node_control", "put a drained or disabled node to work again"),
    "forgive": ("node_control", "let jobs use a node again that they keep away from"),
    "tokens": ("tokens", "list who is let in, or shut one out"),
    "audit": ("audit", "list who did what on the farm"),
    "backup": ("backup", "copy a farm, while it works, to a folder it can be started from"),
    "doctor": ("doctor", "check this machine and say how to fix what is wrong"),
}
"""Name -> module of this package, one line of help; in the order of ``rendermill --help``."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code. Never raises for what a user did."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        module, args = _parse(arguments)
        return int(module.run(args))
    except SystemExit as error:
        # argparse: 0 after --help and --version, 2 after printing what is wrong.
        return error.code if isinstance(error.code, int) else ExitCode.USAGE
    except UsageError as error:
        return _say(str(error), ExitCode.USAGE)
    except KeyboardInterrupt:
        return _say("Interrupted.", ExitCode.INTERRUPTED)
    except BrokenPipeError:
        # `rendermill jobs | head`: nobody is left to be told. What is still buffered must not
        # be flushed into the closed pipe at exit.
        sys.stdout = None
        return ExitCode.DONE


def _say(sentence: str, code: ExitCode) -> ExitCode:
    print(f"rendermill: {sentence}", file=sys.stderr)
    return code


def _parse(arguments: list[str]) -> tuple[Any, argparse.Namespace]:
    parser = argparse.ArgumentParser(
        prog="rendermill", description="The render farm that a Blender artist gets by a button."
    )
    parser.add_argument("--version", action="version", version=f"rendermill {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = next((word for word in arguments if not word.startswith("-")), "")
    module: Any = None
    for name, (module_name, text) in SUBCOMMANDS.items():
        subparser = subparsers.add_parser(name, help=text, description=f"{text.capitalize()}.")
        if name == chosen:
            module = _load(name, module_name)
            module.add_arguments(subparser)
    # A member that starts itself again, in the background or as slots, repeats these words.
    args = parser.parse_args(arguments, argparse.Namespace(words=tuple(arguments)))
    return module, args


def _load(command: str, module_name: str) -> Any:
    full_name = f"{__name__}.{module_name}"
    try:
        return importlib.import_module(full_name)
    except ModuleNotFoundError as error:
        if error.name == full_name:
            raise UsageError(f"This installation has no command {command!r}.") from error
        raise UsageError(
            f"The command {command!r} needs the Python package {error.name!r}, which is not "
            "installed; install Rendermill again with pip."
        ) from error
