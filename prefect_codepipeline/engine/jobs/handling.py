"""Do the work of one job on this machine: its inputs as folders, a handler, its outputs from folders."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefect_codepipeline.actions.artifacts.storing import fetch_tree, load_artifact_store, store_tree
from prefect_codepipeline.actions.artifacts.uploads import Uploads
from prefect_codepipeline.actions.work import CancellationToken, OutputTree
from prefect_codepipeline.engine.executions.definitions import settings_of
from prefect_codepipeline.engine.executions.progress import ProgressReport
from prefect_codepipeline.engine.executions.record import RecordOf
from prefect_codepipeline.engine.jobs.creating import identity_of
from prefect_codepipeline.engine.jobs.known import KnownJob
from prefect_codepipeline.engine.jobs.results import Failure, Success
from prefect_codepipeline.errors import (
    ActionAbandoned,
    ActionFailed,
    CodePipelineError,
    PrefectRefused,
    PrefectUnavailable,
)
from prefect_codepipeline.model.record.facts import ActionProgressed
from prefect_codepipeline.model.record.job_facts import JobProgressed
from prefect_codepipeline.model.wire.jobs import JobData

MESSAGE_LENGTH = 5000
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """What a handler gets. It puts the files of each output artifact into the folder `outputs[NAME]`.

    `report(summary, percent, external_id)` shows the progress of the work. `directory` is an empty folder, which is
    removed after the work. `cancellation` is set when the worker has to end.
    """

    id: str
    action_type: str
    pipeline_name: str
    execution_id: str
    stage_name: str
    action_name: str
    configuration: Mapping[str, str]
    inputs: Mapping[str, Path]
    outputs: Mapping[str, Path]
    directory: Path
    report: Callable[..., None]
    source_revision: str | None = None
    continuation_token: str | None = None
    cancellation: CancellationToken = field(default_factory=CancellationToken)


# What does the work. Its exception is the failure of the job; None is a success about which nothing is said.
Handler = Callable[[Job], Success | None]


def handle(known: KnownJob, handler: Handler, cancellation: CancellationToken) -> Success | Failure:
    """The result of a job.

    Raises:
        ActionAbandoned: the worker had to end before the work did.
        PrefectUnavailable: Prefect did not answer, and the handler was not called.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="codepipeline-job-") as folder:
            return _handle(known, handler, Path(folder), cancellation)
    except CodePipelineError as error:
        is_away = isinstance(error, PrefectUnavailable) and not isinstance(error, PrefectRefused)
        if is_away or isinstance(error, ActionAbandoned):
            raise
        code = error.code if isinstance(error, ActionFailed) else "ConfigurationError"
        return Failure(code, str(error)[:MESSAGE_LENGTH] or code)
    # A handler may raise anything.
    except Exception as error:
        _logger.exception("job %s failed", known.job.id)
        return Failure("JobFailed", f"{type(error).__name__}: {error}"[:MESSAGE_LENGTH])


def _handle(known: KnownJob, handler: Handler, folder: Path, cancellation: CancellationToken) -> Success:
    data = known.data()
    store = load_artifact_store(settings_of(data.pipeline.name, data.settings_id).artifact_store)
    inputs = {each.name: folder / "inputs" / each.name for each in data.inputs}
    for each in data.inputs:
        assert each.stored, "inputs are stored"
        fetch_tree(store, each.stored, inputs[each.name])
    outputs = {each.name: folder / "outputs" / each.name for each in data.outputs}
    for output in (*outputs.values(), folder / "work"):
        output.mkdir(parents=True)
    with _reporting(known) as report:
        job = _job(data, inputs, outputs, folder / "work", report, cancellation)
        result = _called(handler, job)
    if result.continuation_token is None:
        uploads = Uploads(store)
        for place in data.outputs:
            if not any(outputs[place.name].iterdir()):
                raise ActionFailed(
                    f"the worker left output artifact {place.name!r} empty: its files belong into the artifact's folder"
                )
            stored = store_tree(store, place.name, OutputTree(outputs[place.name]))
            uploads.put(place.bucket, place.key, stored)
    return result


def _called(handler: Handler, job: Job) -> Success:
    try:
        return handler(job) or Success()
    except PrefectUnavailable as error:  # of what the handler itself asked Prefect
        raise ActionFailed(str(error)) from error


def _job(
    data: JobData,
    inputs: Mapping[str, Path],
    outputs: Mapping[str, Path],
    directory: Path,
    report: Callable[..., None],
    cancellation: CancellationToken,
) -> Job:
    return Job(
        id=data.id,
        action_type=str(data.action.action_type_id),
        pipeline_name=data.pipeline.name,
        execution_id=data.execution_id,
        stage_name=data.stage,
        action_name=data.action.name,
        configuration=data.action.configuration,
        inputs=inputs,
        outputs=outputs,
        directory=directory,
        report=report,
        source_revision=next((each.revision for each in data.outputs), None),
        continuation_token=data.continuation_token,
        cancellation=cancellation,
    )


def _reporting(known: KnownJob) -> ProgressReport:
    """Takes the progress of the work, and records it at a limited rate."""
    record, identity = RecordOf(known.indexed.execution_id), identity_of(known.job.created)

    def write(progress: ActionProgressed) -> Any:
        record.write(
            JobProgressed(
                **identity,
                at=progress.at,
                job=known.job.id,
                number=progress.number,
                summary=progress.summary,
                percent_complete=progress.percent_complete,
                external_execution_id=progress.external_execution_id,
            )
        )

    earlier = known.job.progress.number if known.job.progress else 0
    return ProgressReport(write, earlier, **identity)
