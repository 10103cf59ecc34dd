"""Records of deployments to hosts by CodeDeploy's rules, as Prefect blocks; deployments write them."""

from typing import ClassVar

from prefect.blocks.core import Block
from pydantic import HttpUrl

from prefect_codepipeline.model.stored.deployment import StoredDeployment, StoredGroup


class CodeDeployDeployment(Block, StoredDeployment):
    """A deployment: what is deployed to which hosts, how far it is, and how it ended."""

    _block_type_name: ClassVar[str] = "CodeDeploy Deployment"
    _block_type_slug: ClassVar[str] = StoredDeployment.block_slug
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl(
        "https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_DeploymentInfo.html"
    )
    _description: ClassVar[str] = "A deployment to hosts by CodeDeploy's rules, written by the deployment."


class CodeDeployGroup(Block, StoredGroup):
    """The revision of a deployment group and the health of its hosts, as its deployments left them."""

    _block_type_name: ClassVar[str] = "CodeDeploy Group"
    _block_type_slug: ClassVar[str] = StoredGroup.block_slug
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl(
        "https://docs.aws.amazon.com/codedeploy/latest/userguide/instances-health.html"
    )
    _description: ClassVar[str] = "The revision of a deployment group and the health of its hosts."
