"""Clients of AWS for the builds of one project."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from prefect_codepipeline.actions.aws.account import account_with
from prefect_codepipeline.actions.aws.client import Account, translated
from prefect_codepipeline.blocks.codebuild_project import CodeBuildProject
from prefect_codepipeline.model.definition.aws_settings import AwsSettings


@dataclass
class Clients:
    """The boto3 clients for a project: its block precedes the region of the action, and that the settings."""

    project: CodeBuildProject
    aws: AwsSettings
    region: str | None = None

    def __post_init__(self) -> None:
        self._account = account_of_project(self.project, self.aws, self.region)
        self.codebuild, self.logs, self.s3 = (self._client(name) for name in ("codebuild", "logs", "s3"))

    def _client(self, service: str) -> Any:
        with translated(f"connecting to {service}"):
            return self._account.client(service)


def account_of_project(project: CodeBuildProject, aws: AwsSettings, region: str | None) -> Account:
    """The account of a project's builds: its block precedes the region of the action, and that the settings."""
    if project.aws_profile:
        aws = aws.changed_by(AwsSettings(profile=project.aws_profile))
    return account_with(aws, project.aws_region or region, project.aws_role_arn)
