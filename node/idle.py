"""How long nobody has touched this machine, as far as the machine can say.

What is asked, by system:

- Linux: the X server of the display (screen saver extension); under Wayland the desktop, over
  D-Bus (GNOME's idle monitor, else the ScreenSaver interface, else what it tells logind); the
  sessions of other users through logind; and always the terminals, whose access time the kernel
  sets when something is typed (in steps of 8 s). The display of an X program under Wayland is
  never believed alone: it only sees the input of X programs.
- macOS: ``HIDIdleTime`` of the HID system, through ``ioreg``.
- Windows: ``GetLastInputInfo`` of this process's session.

The shortest time of all counts. Where the one at the screen cannot be seen, the answer is that
nobody can tell, and why; never that nobody is there.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from . import idle_x11

ANSWER_SECONDS = 5.0
"""A program that is asked and says nothing for so long does not answer."""
SESSIONS_SECONDS = 5.0
"""How long the list of sessions is believed: people log in and out rarely, and asking takes two
programs."""

_TERMINALS = (("/dev/pts", r"\d+"), ("/dev", r"tty\d+"))
_GRAPHICAL = ("x11", "wayland", "mir")
_MUTTER = (
    *("org.gnome.Mutter.IdleMonitor", "/org/gnome/Mutter/IdleMonitor/Core"),
    *("org.gnome.Mutter.IdleMonitor", "GetIdletime"),
)
_SCREEN_SAVER = (
    *("org.freedesktop.ScreenSaver", "/org/freedesktop/ScreenSaver"),
    *("org.freedesktop.ScreenSaver", "GetSessionIdleTime"),
)
"""Bus name, object, interface, method."""


@dataclass(frozen=True, slots=True)
class Idle:
    """What the machine says of its user."""

    seconds: float | None
    """Since the last input; None: it cannot tell."""
    sources: tuple[str, ...] = ()
    """What was asked, for people: "display :0", "terminals"."""
    trouble: str = ""
    """Why it cannot tell, one sentence; '' where it can."""


@dataclass(frozen=True, slots=True)
class Session:
    """A session of logind."""

    user: int
    kind: str
    """``x11``, ``wayland``, ``tty``, ..."""
    is_active: bool
    """In the foreground of its seat."""
    idle_since: float | None
    """Seconds since 1970; None: it is not idle."""


class IdleSensor:
    """Asks this machine. `look` blocks for up to a few `ANSWER_SECONDS`: call it from a thread."""

    def __init__(self) -> None:
        self._terminals = _Terminals()
        self._sessions: list[Session] = []
        self._sessions_until = 0.0

    def look(self) -> Idle:
        """Return for how long nobody has touched the machine, or why that cannot be told."""
        if sys.platform == "darwin":
            return _look_macos()
        if sys.platform == "win32":
            return _look_windows()
        return self._look_linux()

    def _look_linux(self) -> Idle:
        found: dict[str, float] = {}
        if time.monotonic() >= self._sessions_until:
            self._sessions = _ask_sessions()
            self._sessions_until = time.monotonic() + SESSIONS_SECONDS
        trouble = _see_screens(found, self._sessions)
        if trouble:
            return Idle(None, tuple(found), trouble)
        self._terminals.see(found)
        if not found:
            return Idle(None, (), "it has neither a display nor a terminal that could be watched.")
        return Idle(min(found.values()), tuple(found))


def _see_screens(found: dict[str, float], known: list[Session]) -> str:
    """Note the idle times of everybody at a screen; return what keeps one from being seen."""
    sessions = [session for session in known if session.kind in _GRAPHICAL]
    own = [session for session in sessions if session.user == os.getuid()]
    others = [session for session in sessions if session.user != os.getuid() and session.is_active]
    for session in others:
        found[f"session of user {session.user}"] = _since(session)
    is_wayland = _has_wayland() or any(session.kind == "wayland" for session in own)
    if is_wayland:
        return _see_wayland(found, [session for session in own if session.is_active])
    named = os.environ.get("DISPLAY", "")
    number = idle_x11.local_display(named) if named else None
    displays = [number] if number is not None else idle_x11.listening_displays()
    for display in displays:
        try:
            found[f"display :{display}"] = idle_x11.idle_seconds(display)
        except idle_x11.DisplayUnknown as error:
            if others or _is_left_over(display):
                continue  # Theirs, and logind speaks for them; or nobody's any more.
            return f"{error} Start the node from the desktop's own session."
    return ""


def _see_wayland(found: dict[str, float], own: list[Session]) -> str:
    milliseconds = _ask_bus(*_MUTTER)
    if milliseconds is not None:
        found["GNOME"] = milliseconds / 1000
        return ""
    milliseconds = _ask_bus(*_SCREEN_SAVER)
    if milliseconds is not None:
        # Plasma counts milliseconds here. Of a desktop that counts seconds this makes too little:
        # its user seems to be there, never away.
        found["desktop"] = milliseconds / 1000
        return ""
    if own:
        found["desktop (through logind)"] = min(map(_since, own))
        return ""
    return "this desktop (Wayland) does not say when its user last touched it."


def _is_left_over(display: int) -> bool:
    """Whether a display's socket is there and nobody listens."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(ANSWER_SECONDS)
            line.connect(str(idle_x11.SOCKETS / f"X{display}"))
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


def _has_wayland() -> bool:
    if os.environ.get("WAYLAND_DISPLAY"):
        return True
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}")
    try:
        return any(re.fullmatch(r"wayland-\d+", path.name) for path in runtime.iterdir())
    except OSError:
        return False


# --- D-Bus and logind --------------------------------------------------------------------------


def _ask_bus(name: str, path: str, interface: str, method: str) -> int | None:
    """Return the number that a method of the user's bus gives; None when nobody answers."""
    busctl, gdbus = shutil.which("busctl"), shutil.which("gdbus")
    if busctl:
        said = _run([busctl, "--user", "call", name, path, interface, method])
    elif gdbus:
        said = _run(
            [
                *(gdbus, "call", "--session", "--dest", name),
                *("--object-path", path, "--method", f"{interface}.{method}"),
            ]
        )
    else:
        return None
    return parse_number(said)


def parse_number(said: str) -> int | None:
    """Return the number in what ``busctl`` ("t 1234") or ``gdbus`` ("(uint64 1234,)") prints."""
    match = re.fullmatch(r"(?:[tux]\s+|\((?:uint\d+\s+)?)(\d+)(?:,\))?", said.strip())
    return int(match[1]) if match else None


def _ask_sessions() -> list[Session]:
    """Return logind's sessions; none where there is no logind."""
    loginctl = shutil.which("loginctl")
    if loginctl is None:
        return []
    listed = _run([loginctl, "list-sessions", "--no-legend"])
    ids = [line.split()[0] for line in listed.splitlines() if line.split()]
    if not ids:
        return []
    names = ("User", "Type", "Class", "State", "IdleHint", "IdleSinceHint")
    wanted = [word for name in names for word in ("-p", name)]
    return parse_sessions(_run([loginctl, "show-session", *ids, *wanted]))


def parse_sessions(said: str) -> list[Session]:
    """Return the sessions of people in what ``loginctl show-session`` prints."""
    sessions: list[Session] = []
    for block in said.strip().split("\n\n"):
        fields = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if fields.get("Class", "user") != "user" or not fields.get("User", "").isdigit():
            continue
        since = fields.get("IdleSinceHint", "")
        is_idle = fields.get("IdleHint") == "yes" and since.isdigit()
        sessions.append(
            Session(
                user=int(fields["User"]),
                kind=fields.get("Type", ""),
                is_active=fields.get("State") == "active",
                idle_since=int(since) / 1e6 if is_idle else None,
            )
        )
    return sessions


def _since(session: Session) -> float:
    if session.idle_since is None:
        return 0.0
    return max(0.0, time.time() - session.idle_since)


# --- terminals ---------------------------------------------------------------------------------


class _Terminals:
    """The terminals of this machine. A jump of the system's clock makes nobody seem away."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, float, float]] = {}
        """Path -> access time, monotonic time when it was found so, idle seconds at that time."""

    def see(self, found: dict[str, float]) -> None:
        """Note how long nothing has been typed in any terminal."""
        now, steady = time.time(), time.monotonic()
        before, self._seen = self._seen, {}
        for folder, pattern in _TERMINALS:
            try:
                paths = [
                    path for path in Path(folder).iterdir() if re.fullmatch(pattern, path.name)
                ]
            except OSError:
                continue
            for path in paths:
                try:
                    accessed = path.stat().st_atime_ns
                except OSError:
                    continue
                known = before.get(str(path))
                if known is None:
                    known = (accessed, steady, max(0.0, now - accessed / 1e9))
                elif known[0] != accessed:
                    known = (accessed, steady, 0.0)
                self._seen[str(path)] = known
        if self._seen:
            found["terminals"] = min(steady - at + idle for _, at, idle in self._seen.values())


# --- macOS and Windows -------------------------------------------------------------------------


def _look_macos() -> Idle:
    seconds = parse_ioreg(_run(["/usr/sbin/ioreg", "-c", "IOHIDSystem", "-d", "4"]))
    if seconds is None:
        return Idle(None, (), "ioreg does not say when keyboard and mouse were last used.")
    return Idle(seconds, ("keyboard and mouse",))


def parse_ioreg(said: str) -> float | None:
    """Return the seconds of ``HIDIdleTime`` in what ``ioreg`` prints (nanoseconds there)."""
    match = re.search(r'"HIDIdleTime"\s*=\s*(\d+)', said)
    return int(match[1]) / 1e9 if match else None


def idle_ticks(now: int, last: int) -> float:
    """Return the seconds between two readings of Windows' 32-bit millisecond counter."""
    return ((now - last) & 0xFFFFFFFF) / 1000


class _LastInput(ctypes.Structure):
    _fields_ = (("size", ctypes.c_uint32), ("ticks", ctypes.c_uint32))


def _look_windows() -> Idle:
    info = _LastInput(ctypes.sizeof(_LastInput), 0)
    libraries = getattr(ctypes, "windll")  # noqa: B009 - there on Windows only
    if not libraries.user32.GetLastInputInfo(ctypes.byref(info)):
        return Idle(None, (), "Windows does not say when keyboard and mouse were last used.")
    return Idle(idle_ticks(libraries.kernel32.GetTickCount(), info.ticks), ("keyboard and mouse",))


def _run(command: list[str]) -> str:
    """Return what a program prints; '' when it cannot be run, fails or takes too long."""
    try:
        done = subprocess.run(  # noqa: S603 - our own words only
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=ANSWER_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
