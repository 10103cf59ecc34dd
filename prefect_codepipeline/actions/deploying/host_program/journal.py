"""What happened to a deployment on this host: orders and events, in the order in which they were written."""

import errno
import time
from typing import Any, Dict, List, Optional

from prefect_codepipeline.actions.deploying.host_program.places import (
    DeploymentPlace,
    append_line,
    private,
    read_lines,
    remove,
)

# So much room is kept on the disk that the end of a deployment can be written when the disk is full.
_RESERVE = 64 * 1024
_ENDED = ("Succeeded", "Failed", "Skipped", "Stopped")


def note(place: DeploymentPlace, event: str, state: str, **details: Any) -> None:
    """Append a line about an event; it is on the disk when this returns."""
    entry = {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "event": event, "state": state}
    entry.update(details)
    try:
        append_line(place.journal, entry)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        remove(place.reserve)
        append_line(place.journal, entry)


def note_end(
    place: DeploymentPlace,
    event: str,
    state: str,
    code: Optional[str] = None,
    message: str = "",
    script: Optional[str] = None,
    log: str = "",
    warnings: Optional[List[str]] = None,
    ignored: bool = False,
) -> None:
    """Append how an event ended. `ignored`: the deployment continues although it failed."""
    note(
        place,
        event,
        state,
        code=code,
        script=script,
        message=message,
        log=log,
        warnings=warnings or [],
        ignored=ignored,
    )


def keep_room(place: DeploymentPlace) -> None:
    with open(place.reserve, "wb", opener=private) as file:
        file.write(b"\0" * _RESERVE)


class Standing:
    """How far the orders of a deployment are."""

    def __init__(self, place: DeploymentPlace) -> None:
        self.orders = read_lines(place.orders, "events")
        self.entries = read_lines(place.journal, "event", "state")
        self.begun = {entry["event"] for entry in self.entries}
        self.ends: Dict[str, Dict[str, Any]] = {
            entry["event"]: entry for entry in self.entries if entry["state"] in _ENDED
        }

    @property
    def broken(self) -> bool:
        """Whether an event failed or was stopped, so that no further one begins."""
        return any(
            end["state"] in ("Failed", "Stopped") and not end.get("ignored") for end in self.ends.values()
        )

    @property
    def open_event(self) -> Optional[str]:
        """The first event of the last order that has not ended, unless the order has ended."""
        if not self.orders or self.broken:
            return None
        return next((event for event in self.orders[-1]["events"] if event not in self.ends), None)

    @property
    def outcome(self) -> Optional[str]:
        """How all orders together ended, or None while one has events to come."""
        if self.broken:
            states = {end["state"] for end in self.ends.values() if not end.get("ignored")}
            return "Failed" if "Failed" in states else "Stopped"
        return None if not self.orders or self.open_event else "Succeeded"
