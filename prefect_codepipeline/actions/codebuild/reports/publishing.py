"""Publish the reports of a build in Prefect's UI, and store their files in the artifact store."""

from __future__ import annotations

from prefect_codepipeline.actions.artifacts.places import FULL_DISK, keep_file
from prefect_codepipeline.actions.codebuild.reports.collecting import CollectedReports, path_part
from prefect_codepipeline.blocks.artifact_store import ArtifactStore
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.buildspec.reports import one_line, table
from prefect_codepipeline.model.names import slug
from prefect_codepipeline.prefect_api.artifacts import publish_table


def publish_reports(collected: CollectedReports, pipeline_name: str, action_name: str) -> list[str]:
    """Create a table artifact in Prefect for each report, linked to the current task run; the artifacts' ids.

    Each report group of an action has one key, under which Prefect keeps the reports of all runs. If the server does
    not respond, a warning is logged.
    """
    ids = [
        publish_table(
            artifact_key(pipeline_name, action_name, report.group),
            f"report {report.group!r}",
            f"**{report.group}** of action {action_name}: {one_line([report])}",
            table(report),
        )
        for report in collected.reports
    ]
    return [each for each in ids if each]


def artifact_key(pipeline_name: str, action_name: str, group: str) -> str:
    """The key under which Prefect's UI lists the reports of a group."""
    return f"report-{slug(pipeline_name, action_name, group)}"


def keep_report_files(store: ArtifactStore, collected: CollectedReports, *place: str) -> str | None:
    """Store the reports' files as `<store>/reports/<place…>/<group>/<path>`; the folder, or None without files.

    `place` names the origin: pipeline, execution id, stage, action. Existing files of the same name are replaced.

    Raises:
        ActionFailed: the store does not respond, or its disk is full.
    """
    if not collected.files:
        return None
    folder = "/".join(["reports", *map(path_part, place)])
    try:
        for file in collected.files:
            keep_file(store, file.path, f"{folder}/{file.name}")
    except OSError as error:
        why = (
            "the disk is full; free some space" if error.errno in FULL_DISK else error.strerror or str(error)
        )
        raise ActionFailed(
            f"storing the report files failed at {error.filename or store.url}: {why}"
        ) from error
    return f"{store.url}/{folder}"
