"""The processor time that each part of an embedded set-up has used, read from /proc; zero where there is no /proc."""

from __future__ import annotations

import os
from pathlib import Path

from prefect_codepipeline.deployments.local.state import read_state

TICKS = os.sysconf("SC_CLK_TCK")


def processor_seconds(home: Path) -> dict[str, float]:
    """The processor time of each part; that of flow processes is what the fork server's ended children have used."""
    state = read_state(home)
    tree = children_by_parent()
    used = dict.fromkeys(("server", "worker", "flow process", "postgresql", "reconcile"), 0.0)
    for part in ("server", "worker", "postgresql", "reconcile"):
        used[part] = own_seconds(state[part]["pid"])[0]
    for child in tree.get(state["worker"]["pid"], []):
        own, ended = own_seconds(child)
        used["worker"] += own
        used["flow process"] += ended
    used["postgresql"] = sum(
        sum(own_seconds(pid)) if pid == state["postgresql"]["pid"] else own_seconds(pid)[0]
        for pid in (state["postgresql"]["pid"], *tree.get(state["postgresql"]["pid"], []))
    )
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
