"""Clients of AWS for the builds of one project."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from prefect_codepipeline.actions.aws.client import aws_client, translated
from prefect_codepipeline.blocks.codebuild_project import CodeBuildProject


@dataclass
class Clients:
    """The boto3 clients for one region and one set of credentials."""

    project: CodeBuildProject
    region: str | None

    def __post_init__(self) -> None:
        self.codebuild, self.logs, self.s3 = (self._client(name) for name in ("codebuild", "logs", "s3"))

    def _client(self, service: str) -> Any:
        with translated(f"connecting to {service}"):
            return aws_client(service, self.region, self.project.aws_role_arn, self.project.aws_profile)
