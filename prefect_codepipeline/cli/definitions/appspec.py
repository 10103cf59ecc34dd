"""`codepipeline appspec`: rehearse the deployment of a bundle on this machine, without a pipeline or a server."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from prefect_codepipeline.cli.output import Style, answer, print_line, without_control
from prefect_codepipeline.cli.parameters import AsJson
from prefect_codepipeline.errors import CodePipelineError

if TYPE_CHECKING:
    from prefect_codepipeline.actions.deploying.host_calls import Entry
    from prefect_codepipeline.actions.deploying.rehearsal import Rehearsal, Rehearsed

_STYLES: dict[str, Style] = {"Succeeded": "green", "Failed": "red", "Stopped": "yellow"}


def run(
    *,
    dir: Path = Path("."),
    events: Annotated[str | None, Parameter(negative=())] = None,
    root: Path | None = None,
    file_exists_behavior: Literal["DISALLOW", "OVERWRITE", "RETAIN"] = "DISALLOW",
    json: AsJson = False,
) -> int:
    """Run the lifecycle of a bundle on this machine. Exits with 1 if it fails.

    The files are installed below --root. The scripts are not confined to it: they do what they do on a host.

    Parameters
    ----------
    dir:
        The folder of the bundle, with appspec.yml at its root.
    events:
        The lifecycle events to run, in this order, with commas between. DownloadBundle and Install come first unless they
        are named. By default, all events in their order.
    root:
        The folder below which files are installed, and in which rehearsals are recorded. By default, one for each bundle
        in ~/.codedeploy/rehearsals. With / the files are installed on the machine itself.
    file_exists_behavior:
        What happens to a file that is there and was not installed by the last rehearsal, unless the AppSpec says it.
    """
    from prefect_codepipeline.actions.deploying.bundle import read_bundle
    from prefect_codepipeline.actions.deploying.rehearsal import (
        REHEARSED,
        Rehearsal,
        events_in_order,
        rehearse,
    )

    folder = dir.resolve()
    if not folder.is_dir():
        raise CodePipelineError(f"--dir {dir} is not a folder")
    place = _root_of(root, folder)
    wanted = events_in_order(_listed(events)) if events is not None else REHEARSED
    rehearsal = Rehearsal(folder.name or "bundle", place, wanted, file_exists_behavior)
    bundle = read_bundle(folder, f"the folder {dir}")
    entries: list[Entry] = []
    if not json:
        _write_head(rehearsal, bundle.warnings)
    on_entry = entries.append if json else _write_entry
    ended = asyncio.run(rehearse(bundle, rehearsal, on_entry))
    answer(json, _as_json(ended, bundle.revision, rehearsal, entries), *_last_lines(ended, rehearsal))
    return 0 if ended.outcome == "Succeeded" else 1


def _root_of(root: Path | None, folder: Path) -> Path:
    if root is None:
        # Two bundles of one name have nothing to do with each other.
        mark = hashlib.sha256(str(folder).encode()).hexdigest()[:8]
        return Path.home() / ".codedeploy" / "rehearsals" / f"{folder.name}-{mark}"
    place = root.expanduser().resolve()
    if place == folder or place.is_relative_to(folder):
        raise CodePipelineError(
            f"--root {root} is in the folder of the bundle, and would be installed with the next rehearsal; name a folder "
            "elsewhere"
        )
    return place


def _listed(events: str) -> list[str]:
    found = [event.strip() for event in events.split(",") if event.strip()]
    if not found:
        raise CodePipelineError("--events names no event; example: --events BeforeInstall,AfterInstall")
    return found


# -- for people


def _write_head(rehearsal: Rehearsal, warnings: tuple[str, ...]) -> None:
    for warning in warnings:
        print_line(("warning: ", "yellow"), warning)
    where = "on this machine itself" if rehearsal.is_real else f"below {rehearsal.root}"
    print_line(f"Rehearsing {rehearsal.application} {where}")


def _write_entry(entry: Entry) -> None:
    """An event that has ended, with the last lines of its scripts."""
    if entry["state"] == "InProgress":
        sys.stdout.flush()
        return
    for line in str(entry.get("log") or "").splitlines():
        print_line((f"    {without_control(line)}", "dim"))
    print_line(f"{entry['event']:<20}", (entry["state"], _STYLES.get(entry["state"], "bold")))
    for warning in entry.get("warnings") or ():
        print_line(("warning: ", "yellow"), warning)
    if entry["state"] != "Succeeded":
        code = f"{entry['code']}: " if entry.get("code") else ""
        print_line((f"{code}{entry.get('message') or ''}", _STYLES.get(entry["state"], "bold")))
    sys.stdout.flush()


def _last_lines(ended: Rehearsed, rehearsal: Rehearsal) -> list[str | tuple[str, Style]]:
    lines: list[str | tuple[str, Style]] = [(f"{ended.deployment}: {ended.outcome}", _STYLES[ended.outcome])]
    log = ended.folder / "scripts.log"
    if log.exists():
        lines.append(f"All output of the scripts: {log}")
    return lines


def _as_json(ended: Rehearsed, revision: str, rehearsal: Rehearsal, entries: list[Entry]) -> dict[str, Any]:
    began = {entry["event"]: entry["at"] for entry in entries if entry["state"] == "InProgress"}
    return {
        "deploymentId": ended.deployment,
        "status": ended.outcome,
        "revision": revision,
        "root": str(rehearsal.root),
        "folder": str(ended.folder),
        "lifecycleEvents": [
            {
                "lifecycleEventName": entry["event"],
                "status": entry["state"],
                "startTime": began.get(entry["event"]),
                "endTime": entry["at"],
                "diagnostics": {
                    "errorCode": entry.get("code"),
                    "scriptName": entry.get("script"),
                    "message": entry.get("message"),
                    "logTail": entry.get("log"),
                },
            }
            for entry in entries
            if entry["state"] != "InProgress"
        ],
    }
