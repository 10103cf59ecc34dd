"""Invoke/AWS/InspectorScan/1: let Amazon Inspector look for vulnerabilities in source code or in an image.

https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference-InspectorScan.html
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field

from prefect_codepipeline.actions.aws.account import client_of
from prefect_codepipeline.actions.aws.client import error_code, translated
from prefect_codepipeline.actions.aws.remote_work import bearing_silence
from prefect_codepipeline.actions.commands.environment import secret_value
from prefect_codepipeline.actions.inspector.bill_of_materials import Image, make_bill
from prefect_codepipeline.actions.inspector.findings import (
    SEVERITIES,
    counts_of,
    highest_of,
    rows_of,
)
from prefect_codepipeline.actions.registry import (
    ActionConfiguration,
    ActionContext,
    ActionResult,
    OutputTree,
    action_provider,
)
from prefect_codepipeline.errors import ActionFailed, wrong_configuration
from prefect_codepipeline.model.names import slug
from prefect_codepipeline.prefect_api.artifacts import publish_table
from prefect_codepipeline.prefect_api.runs import ids_of_task_run

FILE = "sbom.json"
MOST_ROWS = 500


class InspectorScanConfiguration(ActionConfiguration):
    """The configuration of an action."""

    inspector_run_mode: Literal["SourceCodeScan", "ECRImageScan"]
    ecr_repository_name: str | None = Field(None, alias="ECRRepositoryName")
    image_tag: str | None = None
    critical_threshold: int | None = None
    high_threshold: int | None = None
    medium_threshold: int | None = None
    low_threshold: int | None = None

    def threshold(self, severity: str) -> int | None:
        """How many vulnerabilities of a severity are allowed; None: any number."""
        allowed: int | None = getattr(self, f"{severity}_threshold")
        return allowed


@action_provider(category="Invoke", provider="InspectorScan", inputs=(0, 1), outputs=(1, 1), restartable=True)
def scan_with_inspector(configuration: InspectorScanConfiguration, context: ActionContext) -> ActionResult:
    """Make a bill of materials, let Inspector scan it, and fail if more is found than the thresholds allow."""
    with bearing_silence(context, "the scan by Inspector"):
        scanned = _scanned(configuration, context)
        is_image = isinstance(scanned, Image)
        what = (
            f"image {scanned.name!r}" if is_image else f"input artifact {context.input_artifacts[0].name!r}"
        )
        answer = _scan(make_bill(scanned, what, context), context)
    counts = counts_of(answer)
    said = ", ".join(f"{counts[severity]} {severity}" for severity in SEVERITIES)
    rows = rows_of(answer, MOST_ROWS)
    context.logger.info("Inspector found in %s: %s", what, said)
    if rows and ids_of_task_run():
        _show(rows, f"**{what}**: {said}", context)
    if beyond := _beyond(configuration, counts):
        first = f"; the first is {rows[0]['id']} in {rows[0]['package']}" if rows else ""
        raise ActionFailed(f"Inspector found in {what} more than the action allows: {beyond}{first}")
    directory = context.scratch / "output"
    directory.mkdir()
    (directory / FILE).write_text(json.dumps(answer, indent=1) + "\n")
    return ActionResult(
        summary=f"Inspector found in {what}: {said}",
        output_artifacts={context.action.output_artifacts[0].name: OutputTree(directory)},
        output_variables={"HighestScannedSeverity": highest_of(counts)},
    )


def _scanned(configuration: InspectorScanConfiguration, context: ActionContext) -> Path | Image:
    if configuration.inspector_run_mode == "SourceCodeScan":
        if not context.input_artifacts:
            raise wrong_configuration(
                "InspectorRunMode SourceCodeScan needs an input artifact; add the source to the action"
            )
        return context.input_artifacts[0].directory
    repository, tag = configuration.ecr_repository_name, configuration.image_tag or "latest"
    if not repository:
        raise wrong_configuration("InspectorRunMode ECRImageScan needs ECRRepositoryName")
    aws = context.settings.aws
    if aws.registry:
        host = urlsplit(aws.registry).netloc
        of = "registry_secret of the pipeline's settings"
        user, _, password = (secret_value(aws.registry_secret, of) if aws.registry_secret else "").partition(
            ":"
        )
        return Image(f"{host}/{repository}:{tag}", user, password)
    return _image_in_ecr(repository, tag, context)


def _image_in_ecr(repository: str, tag: str, context: ActionContext) -> Image:
    from botocore.exceptions import ClientError

    ecr = client_of(context, "ecr")
    with translated(f"looking up ECR repository {repository!r} in region {ecr.meta.region_name}"):
        try:
            found = ecr.describe_repositories(repositoryNames=[repository])["repositories"][0]
        except ClientError as error:
            if error_code(error) == "RepositoryNotFoundException":
                raise wrong_configuration(
                    f"there is no ECR repository {repository!r} in region {ecr.meta.region_name}; correct "
                    "ECRRepositoryName or the region"
                ) from error
            raise
        token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    user, _, password = base64.b64decode(token).decode().partition(":")
    return Image(f"{found['repositoryUri']}:{tag}", user, password)


def _scan(bill: Mapping[str, Any], context: ActionContext) -> dict[str, Any]:
    """The bill of materials with the vulnerabilities that Inspector knows."""
    inspector = client_of(context, "inspector-scan")
    with translated(f"scanning the bill of materials in region {inspector.meta.region_name}"):
        answer = inspector.scan_sbom(sbom=bill, outputFormat="CYCLONE_DX_1_5")
    return dict(answer["sbom"])


def _beyond(configuration: InspectorScanConfiguration, counts: Mapping[str, int]) -> str:
    """The severities of which more was found than is allowed, or an empty text."""
    return ", ".join(
        f"{counts[severity]} {severity} ({severity.title()}Threshold is {allowed})"
        for severity in SEVERITIES
        if (allowed := configuration.threshold(severity)) is not None and counts[severity] > allowed
    )


def _show(rows: list[dict[str, str]], said: str, context: ActionContext) -> None:
    """Show the vulnerabilities in Prefect's UI."""
    limit = f" (the worst {MOST_ROWS} are listed)" if len(rows) == MOST_ROWS else ""
    key = f"vulnerabilities-{slug(context.pipeline_name, context.action.name)}"
    publish_table(key, "vulnerabilities", f"{said}{limit}", rows)
