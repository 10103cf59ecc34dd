"""How often all actions of this machine together look at their work in one account of AWS.

AWS limits the requests of an account, which others need too. So each look takes a place in time, and later ones if the next
places are taken: a few actions are looked at as often as they wish, a hundred in turn. The places are in a file, because each
execution has a process of its own. If that is lost, only the turns are.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from datetime import datetime, timezone
from typing import TextIO

from prefect_codepipeline.actions.artifacts.cache_folder import cache_root
from prefect_codepipeline.numbers_set import number_set

REQUESTS_PER_MINUTE = number_set("PREFECT_CODEPIPELINE_AWS_REQUESTS", 150)
# The places of so many seconds are counted together.
SLOT_SECONDS = 4


def place_after(wanted: datetime, now: datetime, account: object, requests: int = 1) -> datetime:
    """The first time from `wanted` on at which a look of so many requests has a place in the account."""
    try:
        with _open(account) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            taken = _read(file, int(now.timestamp()) // SLOT_SECONDS)
            found = _take(taken, wanted, requests)
            _write(file, taken)
            return found
    except OSError:  # no disk, no turns
        return wanted


def _take(taken: dict[int, int], wanted: datetime, requests: int) -> datetime:
    most = max(1, int(REQUESTS_PER_MINUTE * SLOT_SECONDS / 60))
    slot = int(wanted.timestamp()) // SLOT_SECONDS
    while taken.get(slot, 0) + requests > most and taken.get(slot):
        slot += 1
    before = taken.get(slot, 0)
    taken[slot] = before + requests
    if slot == int(wanted.timestamp()) // SLOT_SECONDS:
        return wanted
    # Those who have to wait do not all come at the beginning of the slot.
    return datetime.fromtimestamp(SLOT_SECONDS * (slot + before / most), timezone.utc)


def _open(account: object) -> TextIO:
    folder = cache_root() / "aws"
    folder.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(repr(account).encode()).hexdigest()[:16]
    return os.fdopen(os.open(folder / f"looks-{name}.json", os.O_RDWR | os.O_CREAT, 0o600), "r+")


def _read(file: TextIO, first: int) -> dict[int, int]:
    """The places that are taken, by slot, without the past."""
    try:
        return {int(slot): int(count) for slot, count in json.load(file).items() if int(slot) >= first}
    except (ValueError, AttributeError):  # new, or its writer was killed
        return {}


def _write(file: TextIO, taken: dict[int, int]) -> None:
    file.seek(0)
    file.truncate()
    json.dump(taken, file)
    file.flush()
