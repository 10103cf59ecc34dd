"""`Source/Custom/Scripted/1`, `Test/Custom/Scripted/1`, `…/Impatient/1` and `…/Remote/1`: actions with an order of their own."""

from __future__ import annotations

import os
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

from prefect_codepipeline.actions.registry import (
    ActionConfiguration,
    ActionContext,
    ActionResult,
    Waiting,
    action_provider,
)
from prefect_codepipeline.actions.work import OutputTree
from prefect_codepipeline.errors import ActionAbandoned, ActionFailed, ActionInterrupted
from prefect_codepipeline.model.record.artifacts import SourceRevision


class ScriptedConfiguration(ActionConfiguration):
    """`trace` gets a line for each run; `until` is a file that is waited for; `fail_unless` one that must exist.

    `output` is the content of each output artifact, in a file `output_name`; or `output_folder` is what they have.
    `report` is said while it runs.
    """

    trace: Path | None = None
    sleep_seconds: float = 0
    until: Path | None = None
    fail_unless: Path | None = None
    raise_error: str | None = None
    output: str | None = None
    output_folder: Path | None = None
    output_name: str = "output.txt"
    report: str | None = None


@action_provider(
    category="Source", owner="Custom", provider="Scripted", inputs=(0, 0), outputs=(0, 5), restartable=True
)
def fetch(configuration: ScriptedConfiguration, context: ActionContext) -> ActionResult:
    """Behave as ordered; the revision is the override or all zeros."""
    result = _behave(configuration, context)
    revision = context.source_revision_override or "0" * 40
    return ActionResult(
        summary="fetched",
        output_artifacts=result.output_artifacts,
        output_variables={"CommitId": revision},
        source_revision=SourceRevision(
            revision_id=revision, revision_summary="the <b>first</b> commit\n\nwhy"
        ),
    )


@action_provider(category="Test", owner="Custom", provider="Scripted", inputs=(0, 5), outputs=(0, 5))
def test(configuration: ScriptedConfiguration, context: ActionContext) -> ActionResult:
    """Behave as ordered."""
    return _behave(configuration, context)


@action_provider(
    category="Test", owner="Custom", provider="Impatient", inputs=(0, 0), outputs=(0, 0), timeout_in_minutes=0
)
def run_out_of_time(configuration: ScriptedConfiguration, context: ActionContext) -> ActionResult:
    """Behave as ordered, though there is no time."""
    return _behave(configuration, context)


class SecretiveConfiguration(ActionConfiguration):
    """`token` is a secret; the file `until` is waited for."""

    token: str
    until: Path | None = None


@action_provider(
    category="Test", owner="Custom", provider="Secretive", inputs=(0, 0), outputs=(0, 0), secrets=["Token"]
)
def keep_secret(configuration: SecretiveConfiguration, context: ActionContext) -> ActionResult:
    """Say how long the secret is."""
    if configuration.until:
        _wait_for(configuration.until, context)
    return ActionResult(output_variables={"Length": str(len(configuration.token))})


class RemoteConfiguration(ActionConfiguration):
    """Work in another system: the folder `work`. The file `may-keep` is waited for after the start, then `done`."""

    work: Path


@action_provider(
    category="Test",
    owner="Custom",
    provider="Remote",
    inputs=(0, 0),
    outputs=(0, 0),
    restartable=lambda _, context: bool(context.earlier and context.earlier.external_id),
)
def follow(configuration: RemoteConfiguration, context: ActionContext) -> ActionResult:
    """Start the work or find it again, and wait for its end. An abandoned action stops it."""
    work = configuration.work
    if context.earlier is None:
        _say(work / "calls", "start")
        _wait_for(work / "may-keep", context)
        context.keep("job-1", "https://example.com/job-1", place="here")
    try:
        _wait_for(work / "done", context)
    except ActionInterrupted:
        raise
    except ActionAbandoned:
        _say(work / "calls", "stop")
        raise
    earlier = context.earlier
    return ActionResult(
        output_variables={
            "Found": f"{earlier.external_id} {earlier.url} {earlier.state}" if earlier else "",
            "SecondsLeft": str(context.remaining_seconds),
        }
    )


class WaitingConfiguration(ActionConfiguration):
    """It waits until the file `done` in the folder `work` exists, or for one call if `stuck` does.

    With `at_first` the first call waits in any case.
    """

    work: Path
    at_first: bool = False
    seconds: float | None = None
    fact: str | None = None


def _stop(configuration: WaitingConfiguration, context: ActionContext) -> None:
    _say(configuration.work / "calls", f"stop {context.earlier.external_id if context.earlier else None}")


@action_provider(category="Test", owner="Custom", provider="Waits", inputs=(0, 0), outputs=(0, 0), stop=_stop)
@action_provider(
    category="Test",
    owner="Custom",
    provider="WaitsBriefly",
    inputs=(0, 0),
    outputs=(0, 0),
    timeout_in_minutes=0,
    stop=_stop,
)
def look(configuration: WaitingConfiguration, context: ActionContext) -> ActionResult | Waiting:
    """Wait as the configuration says, in place of a thread."""
    work = configuration.work
    if context.earlier is None:
        context.keep("job-1", looks="0")
    _say(work / "calls", f"look {os.getpid()}")
    while (work / "stuck").exists() and context.earlier:
        context.check()
        context.cancellation.wait(0.02)
    if (work / "done").exists() and (context.earlier or not configuration.at_first):
        return ActionResult(summary="looked")
    until = None
    if configuration.seconds is not None:
        until = datetime.now(timezone.utc) + timedelta(seconds=configuration.seconds)
    return Waiting(until=until, fact=configuration.fact, summary="for the file")


def _say(file: Path, what: str) -> None:
    with file.open("a") as log:
        log.write(f"{what}\n")


def _wait_for(file: Path, context: ActionContext) -> None:
    while not file.exists():
        context.check()
        context.cancellation.wait(0.02)


def _behave(configuration: ScriptedConfiguration, context: ActionContext) -> ActionResult:
    if configuration.trace:
        with configuration.trace.open("a") as trace:
            trace.write(f"{context.pipeline_execution_id} {context.stage_name}/{context.action.name}\n")
    if configuration.report:
        context.report_progress(configuration.report, 50, "x1", "https://example.com/x1")
    until = time.monotonic() + configuration.sleep_seconds
    while time.monotonic() < until or (configuration.until and not configuration.until.exists()):
        context.check()
        context.cancellation.wait(0.02)
    if configuration.raise_error:
        raise RuntimeError(configuration.raise_error)
    if configuration.fail_unless and not configuration.fail_unless.exists():
        raise ActionFailed(f"there is no {configuration.fail_unless.name}")
    return ActionResult(
        summary="as ordered",
        output_artifacts={
            artifact.name: _tree(context.scratch / artifact.name, configuration)
            for artifact in context.action.output_artifacts
        },
        output_variables={"PID": str(os.getpid())},
    )


def _tree(directory: Path, configuration: ScriptedConfiguration) -> OutputTree:
    if configuration.output_folder:
        return OutputTree(configuration.output_folder)
    directory.mkdir()
    (directory / configuration.output_name).write_text(configuration.output or "nothing")
    return OutputTree(directory)
