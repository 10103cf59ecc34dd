"""`codepipeline prune`: remove what is older than it has to be kept."""

from __future__ import annotations

import re
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from prefect_codepipeline.cli.output import answer, counted
from prefect_codepipeline.cli.parameters import AsJson
from prefect_codepipeline.cli.session import connect
from prefect_codepipeline.errors import CodePipelineError

if TYPE_CHECKING:
    from prefect_codepipeline.engine.retention.caches import Freed
    from prefect_codepipeline.engine.retention.prune import Pruned

_PERIOD = re.compile(r"([0-9]{1,6})([dh])")
_MIB = 1024**2
# Requests, while a person waits.
_PER_SECOND = 100.0


def prune(
    *,
    dry_run: Annotated[bool, Parameter(negative=())] = False,
    older_than: str | None = None,
    yes: Annotated[bool, Parameter(negative=())] = False,
    json: AsJson = False,
) -> int:
    """Remove old executions, artifacts that no execution needs, and what is too much in this machine's caches.

    Reconcile does it once a day, without this command. Never removed: executions in flight, the last success of each stage,
    and the last execution at a gate. An artifact is marked first, and removed by a later prune, a day later at the earliest.

    Parameters
    ----------
    dry_run:
        Only show what would be removed.
    older_than:
        Remove executions that ended so long ago, such as 365d or 12h, instead of what the blocks Retention say.
    yes:
        Needed for less than one day.
    """
    period = _period(older_than) if older_than is not None else None
    if period is not None and period < timedelta(days=1) and not (yes or dry_run):
        raise CodePipelineError(
            f"--older-than {older_than} removes executions that ended less than a day ago; nothing was removed: name a "
            "longer time, look with --dry-run, or confirm with --yes"
        )
    connect()
    from prefect_codepipeline.engine.retention.caches import most_bytes, prune_caches
    from prefect_codepipeline.engine.retention.pace import Pace
    from prefect_codepipeline.engine.retention.prune import prune as prune_once

    most_bytes()  # refuses a wrong variable before anything is removed
    done = prune_once(older_than=period, dry_run=dry_run, pace=Pace(per_second=_PER_SECOND))
    if done is None:
        raise CodePipelineError(
            "another process removes old executions right now; try again when it has ended"
        )
    freed = prune_caches(dry_run=dry_run)
    value = {
        "dryRun": dry_run,
        "executions": done.executions,
        "keptExecutions": done.kept,
        "executionsByPipeline": done.by_pipeline,
        "artifacts": asdict(done.artifacts),
        "refused": done.refused,
        "caches": asdict(freed),
    }
    answer(json, value, *_lines(done, freed, dry_run))
    return 0


def _period(text: str) -> timedelta:
    match = _PERIOD.fullmatch(text.strip())
    if match is None:
        raise CodePipelineError(f"--older-than takes days or hours, such as 365d or 12h, got {text!r}")
    number = int(match[1])
    return timedelta(days=number) if match[2] == "d" else timedelta(hours=number)


def _lines(done: Pruned, freed: Freed, dry_run: bool) -> list[str]:
    removed = "would remove" if dry_run else "removed"
    lines = [f"{removed} {counted(done.executions, 'execution')}; {done.kept} are kept"]
    lines += [f"  {name}: {count}" for name, count in sorted(done.by_pipeline.items())]
    artifacts = done.artifacts
    size = f"{artifacts.bytes / _MIB:.1f} MiB"
    lines.append(f"{removed} {artifacts.removed} artifacts, reports and uploads ({size})")
    if artifacts.marked:
        lines.append(f"{artifacts.marked} more are no longer needed; a prune in a day or later removes them")
    lines.append(
        f"{removed} {len(freed.removed)} from this machine's caches ({freed.bytes / _MIB:.1f} MiB); "
        f"{freed.left / _MIB:.1f} MiB are left"
    )
    return [*lines, *done.refused]
