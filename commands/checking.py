"""``rendermill coordinator --check``: what a check of the data folder has found, told to people."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from ..coordinator.checking import Findings, check_data
from ..coordinator.store import DataInUse, StoreError
from .exit_codes import ExitCode
from .printing import size


def check(data: Path, *, as_json: bool) -> ExitCode:
    """Check the data folder of a coordinator that does not run; 0 when everything is sound."""

    def tell(blobs: int, length: int) -> None:
        print(f"{blobs} files, {size(length)} read ...", file=sys.stderr, flush=True)

    if not data.is_dir():
        print(f"rendermill: There is no data folder {data}; name it with --data.", file=sys.stderr)
        return ExitCode.USAGE
    try:
        found = check_data(data, tell)
    except StoreError as error:
        print(f"rendermill: {error}", file=sys.stderr)
        return ExitCode.USAGE if isinstance(error, DataInUse) else ExitCode.FAILED
    except OSError as error:
        print(f"rendermill: {data} cannot be read ({error}).", file=sys.stderr)
        return ExitCode.FAILED
    if as_json:
        print(json.dumps({"ok": found.is_sound, **asdict(found)}))
    else:
        _print(data, found)
    return ExitCode.DONE if found.is_sound else ExitCode.FAILED


def _print(data: Path, found: Findings) -> None:
    print(f"{found.blobs} files, {size(found.length)} read; {len(found.damaged)} damaged.")
    for one in found.lost:
        print(
            f"Lost: {one.path} of job {one.job}; its frame is rendered again after the next start."
        )
    for job in found.scenes:
        print(f"The scene of job {job} lacks a part; submit it again before the job is retried.")
    for line in found.database:
        print(f"The database: {line}; put it back from a backup.")
    if found.damaged:
        print(f"Damaged files were set aside in {data / 'blobs' / 'damaged'}.")
    if found.is_sound:
        print("Everything is as it was stored.")
