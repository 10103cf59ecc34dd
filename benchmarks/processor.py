"""The processor time that each part of an embedded set-up has used, read from /proc; zero where there is no /proc."""

from __future__ import annotations

import os
from pathlib import Path

from prefect_codepipeline.deployments.local.state import read_state

TICKS = os.sysconf("SC_CLK_TCK")


PARTS = ("server", "worker", "flow process", "postgresql", "reconcile")


def processor_seconds(home: Path) -> dict[str, float]:
    """The processor time of each part so far; the worker has the fork server, and flow processes are the children of that."""
    state, tree, used = read_state(home), children_by_parent(), dict.fromkeys(PARTS, 0.0)
    pids = {part: state[part]["pid"] for part in PARTS if state.get(part)}
    for part, pid in pids.items():
        used[part] = own_seconds(pid)[0]
    for fork_server in tree.get(pids["worker"], []):
        own, ended = own_seconds(fork_server)
        used["worker"] += own
        used["flow process"] += ended + sum(own_seconds(pid)[0] for pid in tree.get(fork_server, []))
    if database := pids.get("postgresql"):
        used["postgresql"] += own_seconds(database)[1]
        used["postgresql"] += sum(own_seconds(pid)[0] for pid in tree.get(database, []))
    return used


def own_seconds(pid: int) -> tuple[float, float]:
    """The processor time of a process, and that of its children that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0, 0.0
    user, system, children_user, children_system = (int(field) / TICKS for field in fields[11:15])
    return user + system, children_user + children_system


def children_by_parent() -> dict[int, list[int]]:
    tree: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        tree.setdefault(int(fields[1]), []).append(int(path.parent.name))
    return tree


def seconds_of_trees(pids: list[int]) -> float:
    """The processor time of these processes and of all below them, with that of their children that have ended."""
    tree, used, left = children_by_parent(), 0.0, list(pids)
    while left:
        pid = left.pop()
        used += sum(own_seconds(pid))
        left += tree.get(pid, [])
    return used
