"""A limit of the request rate of each source."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

_SOURCES_KEPT = 10_000


def source_of(address: str) -> str:
    """The key of a client for limits: its address, or the /64 network of an IPv6 address, which is one customer's."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return address
    if found.ipv4_mapped:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, 64), strict=False))


class RateLimit:
    """Allows each source `burst` requests at once, and then `per_second` requests.

    The number of remembered sources is limited. The source with the oldest request is forgotten first.
    """

    def __init__(self, burst: float, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst = burst
        self._per_second = per_second
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait_seconds(self, source: str, cost: float = 1) -> float:
        """0 if the request is allowed, which counts it; else the seconds to wait."""
        with self._lock:
            now = self._clock()
            left, then = self._left.pop(source, (self._burst, now))
            left = min(self._burst, left + (now - then) * self._per_second)
            is_allowed = left >= cost
            self._left[source] = (left - cost if is_allowed else left, now)
            if len(self._left) > _SOURCES_KEPT:
                self._left.popitem(last=False)
            return 0.0 if is_allowed else (cost - left) / self._per_second

    def charge(self, source: str, cost: float) -> None:
        """Count additional requests for a known source, which may then have to wait until it has `burst` more."""
        with self._lock:
            if source in self._left:
                left, then = self._left[source]
                self._left[source] = (max(-self._burst, left - cost), then)
