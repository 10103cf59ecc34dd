"""Read what `trace_hook/sitecustomize.py` has written: the requests of one execution, in order, and where they stand."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

# Threads of a flow process that its execution does not wait for: followers, leases, heartbeats, logs and events.
BESIDE = re.compile(r"^codepipeline-|^GlobalEventLoopThread$|heartbeat", re.IGNORECASE)
# What Prefect's worker sends at any time, whether an execution runs or not.
PERIODIC = re.compile(r"/heartbeat$|/health$")
STARTS = re.compile(r"/create_flow_run$|/resume$")
EXECUTION = ("command line", "worker", "fork server", "flow")
SHORTEST_WAIT = 0.005
_ID = re.compile(r"([0-9a-f]{8})-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Request:
    """One request; `start` and `end` in seconds since the epoch, as its sender saw them."""

    who: str
    thread: str
    method: str
    path: str
    detail: str
    status: int
    start: float
    end: float
    served: float
    is_critical: bool = False

    @property
    def kind(self) -> str:
        """The method and the path with `*` instead of ids and names."""
        path = re.sub(r"/name/.*", "/name/*", _ID.sub("*", self.path.removeprefix("/api")))
        path = re.sub(
            r"/work_pools/[^/]+", "/work_pools/*", re.sub(r"/input/(?!filter$).+", "/input/*", path)
        )
        return f"{self.method} {path}"


def read_requests(folder: Path, since: float, until: float) -> list[Request]:
    """All requests that began in that time, earliest first."""
    lines = [
        json.loads(line) for file in sorted(folder.glob("*.jsonl")) for line in file.read_text().splitlines()
    ]
    found = [each for each in joined(lines) if since <= each.start <= until]
    return sorted(found, key=lambda each: each.start)


def joined(lines: Iterable[dict[str, Any]]) -> Iterator[Request]:
    """The lines of the servers, each with the line of the client that sent the request."""
    lines = list(lines)
    sent = {line["mark"]: line for line in lines if line["side"] == "client"}
    for line in lines:
        if line["side"] != "server":
            continue
        client = sent.get(
            line["mark"], {"who": "?", "thread": "", "start": line["start"], "end": line["end"]}
        )
        yield Request(
            who="events" if line["method"] == "WS" else client["who"],
            thread=client["thread"],
            method=line["method"],
            path=line["path"],
            detail=line["detail"],
            status=line["status"],
            start=client["start"],
            end=max(client["end"], line["end"]),
            served=line["end"] - line["start"],
        )


def with_critical(requests: list[Request], final: float) -> list[Request]:
    """The requests, with those marked that the execution waited for before its final state.

    - of the command line: until the request that creates or resumes the flow run
    - of the worker: from there until the first request of the flow process
    - of the flow process: from the main thread and the threads of actions
    """
    phase = "command line"
    marked = []
    for request in requests:
        if request.who == "flow" and not BESIDE.search(request.thread):
            phase = "flow"
        elif request.who == "command line" and phase == "flow":
            phase = "command line"  # the approval
        periodic = PERIODIC.search(request.path)
        is_own = request.who == phase or (request.who == "fork server" and phase == "worker")
        is_critical = is_own and not periodic and not BESIDE.search(request.thread) and request.start <= final
        marked.append(replace(request, is_critical=bool(is_critical)))
        if request.who == "command line" and STARTS.search(request.path):
            phase = "worker"
    return marked


def of_execution(requests: list[Request]) -> list[Request]:
    """Without what other processes send, and without what a worker sends at any time."""
    return [each for each in requests if each.who in EXECUTION and not PERIODIC.search(each.path)]


def table(requests: list[Request], start: float) -> Iterator[str]:
    """One line for each request, and one for each time in which no critical request ran."""
    yield f"{'ms':>8} {'took':>6}    {'who':13} {'thread':22} request"
    until, last = start, "start"
    for request in requests:
        if request.is_critical:
            if request.start - until > SHORTEST_WAIT:
                yield f"{1000 * (until - start):8.0f} {1000 * (request.start - until):6.0f} *  {'no request':13} {last}"
            if request.end > until:
                until, last = request.end, f"after {request.kind}"
        mark = "*" if request.is_critical else " "
        yield (
            f"{1000 * (request.start - start):8.0f} {1000 * (request.end - request.start):6.1f} {mark}  "
            f"{request.who:13} {request.thread[:22]:22} {shortened(request)}"
        )


def shortened(request: Request) -> str:
    path = _ID.sub(r"\1", request.path.removeprefix("/api"))
    status = f" {request.status}" if request.status >= 400 else ""
    return " ".join(filter(None, (request.method, path + status, request.detail)))


def covered(requests: list[Request]) -> float:
    """The seconds in which at least one of the requests ran."""
    total, until = 0.0, 0.0
    for request in sorted(requests, key=lambda each: each.start):
        total += max(0.0, request.end - max(until, request.start))
        until = max(until, request.end)
    return total


def summary(requests: list[Request], seconds: float) -> Iterator[str]:
    """How many requests of which kind and of which process."""
    own = of_execution(requests)
    critical = [each for each in own if each.is_critical]
    share = covered(critical)
    yield f"{len(own)} requests of the execution, {len(critical)} of them on the critical path, which takes {seconds:.3f} s:"
    yield f"  {share:.3f} s in requests, {seconds - share:.3f} s between them"
    yield ""
    yield f"{'process':40} {'requests':>8} {'critical':>8}"
    for who, count in Counter(each.who for each in own).most_common():
        yield f"{who:40} {count:8} {sum(each.who == who for each in critical):8}"
    others = Counter(each.who for each in requests if each not in own)
    yield "not counted: " + (
        ", ".join(f"{count} of {who}" for who, count in others.most_common()) or "nothing"
    )
    yield ""
    yield f"{'kind':56} {'requests':>8} {'critical':>8} {'ms':>6}"
    for kind, count in Counter(each.kind for each in own).most_common():
        took = 1000 * sum(each.end - each.start for each in own if each.kind == kind)
        yield f"{kind:56} {count:8} {sum(each.kind == kind for each in critical):8} {took:6.0f}"
