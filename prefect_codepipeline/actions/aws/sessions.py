"""The boto3 sessions and clients of this process: made once and used again, because work in AWS is looked at often.

A role is assumed once for all clients of a session, and botocore renews what it got before that expires. Whatever boto3 takes
from its environment and from the files in `~/.aws` makes another session when it has changed.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

# The session that was not used for the longest time is dropped first.
MOST_SESSIONS = 128
_FILES = {"AWS_CONFIG_FILE": "~/.aws/config", "AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials"}
_lock = Lock()


@dataclass
class Session:
    """A boto3 session and its clients. Threads share a client, but must not make clients from a session at once."""

    made: Any = None
    clients: dict[Hashable, Any] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def client(
        self, key: Hashable | None, make_session: Callable[[], Any], make_client: Callable[[Any], Any]
    ) -> Any:
        """The client that is known by the key, or a new one; without a key always a new one. Errors are not kept."""
        with self._lock:
            if self.made is None:
                self.made = make_session()
            client = self.clients.get(key) or make_client(self.made)
            if key is not None:
                self.clients[key] = client
            return client


_sessions: OrderedDict[Hashable, Session] = OrderedDict()


def session_of(account: Hashable) -> Session:
    """The session of an account, in the environment as it is now."""
    key = (account, _environment())
    with _lock:
        session = _sessions.setdefault(key, Session())
        _sessions.move_to_end(key)
        while len(_sessions) > MOST_SESSIONS:
            _sessions.popitem(last=False)
        return session


def forget_sessions() -> None:
    """Make all sessions anew: AWS does not accept the credentials of one of them, or there are none."""
    with _lock:
        _sessions.clear()


def _environment() -> Hashable:
    given = tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_")))
    files = (Path(os.environ.get(name) or default).expanduser() for name, default in _FILES.items())
    return given, tuple(_stamp(file) for file in files)


def _stamp(file: Path) -> Hashable:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
