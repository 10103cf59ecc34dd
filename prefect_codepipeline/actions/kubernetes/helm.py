"""Install or upgrade a release with helm, and put in order what a crash has left.

Every release that an action installs has a label with the action execution id (helm 3.13 or newer): by it a later process
of the same action finds what an earlier one had started. https://helm.sh/docs/helm/helm_upgrade/
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect_codepipeline.actions.commands.programs import Programs, Ran
from prefect_codepipeline.actions.kubernetes.kubectl import SPARE_SECONDS, failure, in_namespace, why_not
from prefect_codepipeline.errors import ActionFailed

_LABEL = "codepipeline-action-execution"
_BUSY = re.compile(r"another operation .*is in progress")
_OLD = re.compile(r"unknown flag: --labels")


@dataclass(frozen=True)
class Release:
    """A release, and what it is made from."""

    name: str
    namespace: str | None
    chart: Path
    values: Sequence[Path]

    @property
    def place(self) -> list[str]:
        return in_namespace(self.namespace)


def upgrade(release: Release, programs: Programs, *, again: bool) -> None:
    """Install or upgrade the release, and wait until its resources are ready.

    Args:
        release: what is installed.
        programs: run helm.
        again: an earlier process may have done it, or a part of it.

    Raises:
        ActionFailed: helm failed; the message has the reason of a pod if there is one.
    """
    if again and _is_done(release, programs):
        return
    context = programs.context
    context.report_progress(summary=f"helm upgrade of release {release.name!r}", percent=20)
    seconds = max(1, int(context.remaining_seconds) - SPARE_SECONDS)
    values = [argument for file in release.values for argument in ("--values", str(file))]
    labels = f"{_LABEL}={context.action_execution_id}"
    command = ["helm", "upgrade", release.name, str(release.chart), "--install", "--wait", *release.place]
    ran = programs.run([*command, *values, "--timeout", f"{seconds}s", "--labels", labels], context.scratch)
    if ran.code:
        raise _failure(release, ran, programs)


def _is_done(release: Release, programs: Programs) -> bool:
    """Whether an earlier process of this action has deployed the release; what it had begun is undone."""
    found = _ours(release, programs)
    status = str(found.get("status", ""))
    if status == "deployed":
        programs.context.logger.info("Release %r was deployed before the worker ended", release.name)
        return True
    if status.startswith("pending-"):
        programs.context.logger.warning(
            "Release %r is %s because the worker ended: this operation is undone and repeated",
            release.name,
            status,
        )
        _undo(release, status, programs)
    return False


def _ours(release: Release, programs: Programs) -> Mapping[str, Any]:
    """The release as helm lists it, if its last operation is one of this action; else empty."""
    selector = f"{_LABEL}={programs.context.action_execution_id}"
    name = f"^{re.escape(release.name)}$"
    states = ["--deployed", "--failed", "--pending"]
    command = ["helm", "list", *release.place, *states, "--selector", selector, "--filter", name]
    found = _json(programs, [*command, "--output", "json"], f"helm list of release {release.name!r}")
    return next(iter(found), {})


def _undo(release: Release, status: str, programs: Programs) -> None:
    if status == "pending-install":
        command = ["helm", "uninstall", release.name, *release.place, "--wait"]
    else:
        command = ["helm", "rollback", release.name, _last_good(release, programs), *release.place, "--wait"]
    ran = programs.run(command, programs.context.scratch)
    if ran.code:
        raise failure(f"{' '.join(command[:3])}, after a worker died in a helm upgrade,", ran)


def _last_good(release: Release, programs: Programs) -> str:
    """The revision that was deployed before the operation which did not end."""
    command = ["helm", "history", release.name, *release.place, "--output", "json"]
    history = _json(programs, command, f"helm history of release {release.name!r}")
    deployed = [each for each in history if each.get("status") == "deployed"]
    # Without one, helm takes the revision before.
    return str(deployed[-1]["revision"]) if deployed else "0"


def _json(programs: Programs, command: Sequence[str], doing: str) -> list[Mapping[str, Any]]:
    ran = programs.run(command, programs.context.scratch, captured=True)
    if ran.code:
        raise failure(doing, ran)
    try:
        found: list[Mapping[str, Any]] = json.loads(ran.output)
    except ValueError:
        raise ActionFailed(f"{doing} did not print JSON; install helm 3.13 or newer") from None
    return found


def _failure(release: Release, ran: Ran, programs: Programs) -> ActionFailed:
    doing = f"helm upgrade of release {release.name!r}"
    if _OLD.search(ran.text):
        return ActionFailed(
            f"{doing}: helm on the worker is too old; install 3.13 or newer", code="ConfigurationError"
        )
    if _BUSY.search(ran.text):
        return ActionFailed(
            f"{doing}: another operation on it is in progress, which is not one of this action; wait for it or, if the "
            f"program that started it has ended, run `helm rollback {' '.join([release.name, *release.place])}`"
        )
    cause = why_not(programs, {"app.kubernetes.io/instance": release.name}, release.place)
    return failure(doing, ran, cause)
