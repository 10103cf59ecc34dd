"""A CodeDeploy application: its deployment groups and their hosts, as a Prefect block."""

from __future__ import annotations

from typing import ClassVar

from prefect.blocks.core import Block
from pydantic import Field, HttpUrl, field_validator

from prefect_codepipeline.model.codedeploy.group import STORE_SECRETS, DeploymentGroup
from prefect_codepipeline.model.definition.aws_settings import BucketLocation
from prefect_codepipeline.model.names import refuse_repeated


class CodeDeployApplication(Block):
    """Where the deployment groups of a CodeDeploy application are: own hosts, this machine, or AWS.

    An action uses the block named like its ApplicationName in lower case, with hyphens for characters that block names
    cannot contain ('My_App' is 'my-app'), or the block whose `application_name` is that name. A group that no block has
    is one of AWS CodeDeploy.

    Example:
        ```python
        from prefect_codepipeline.blocks.codedeploy_application import CodeDeployApplication
        from prefect_codepipeline.model.codedeploy.group import DeploymentGroup, Host

        web = DeploymentGroup(name="web", hosts=[Host(name="web-1", address="10.0.0.11")])
        CodeDeployApplication(deployment_groups=[web]).save("my-app")
        application = CodeDeployApplication.load("BLOCK_NAME")
        ```
    """

    _block_type_name: ClassVar[str] = "CodeDeploy Application"
    _block_type_slug: ClassVar[str] = "codedeploy-application"
    _description: ClassVar[str] = "The deployment groups of a CodeDeploy application, and the hosts of each."
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl(
        "https://docs.aws.amazon.com/codedeploy/latest/userguide/applications.html"
    )

    application_name: str | None = Field(
        None,
        min_length=1,
        max_length=100,
        description="ApplicationName of the actions, if the block's name is not made from it.",
    )
    deployment_groups: list[DeploymentGroup] = Field(
        default_factory=list, description="The deployment groups of the application."
    )
    aws_location: BucketLocation | None = Field(
        None,
        description=(
            "'s3://bucket/prefix' for groups in AWS: bundles are uploaded there. If empty, the location in the "
            "pipeline's settings."
        ),
    )

    def group(self, name: str) -> DeploymentGroup | None:
        """The deployment group of that name, or None."""
        return next((group for group in self.deployment_groups if group.name == name), None)

    @field_validator("deployment_groups")
    @classmethod
    def _has_each_name_once(cls, groups: list[DeploymentGroup]) -> list[DeploymentGroup]:
        refuse_repeated(group.name for group in groups)
        return groups

    @field_validator("deployment_groups")
    @classmethod
    def _has_no_secret(cls, groups: list[DeploymentGroup]) -> list[DeploymentGroup]:
        for group in groups:
            if group.ssh.has_secrets:
                raise ValueError(
                    f"{group.name}: Prefect does not hide secrets inside a list; {STORE_SECRETS}"
                )
        return groups
