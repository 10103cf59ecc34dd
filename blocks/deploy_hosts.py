"""Hosts with tags, from which CodeDeploy deployment groups and EC2 actions choose, as a Prefect block."""

from typing import ClassVar

from prefect.blocks.core import Block
from pydantic import HttpUrl

from prefect_codepipeline.model.stored.inventory import StoredInventory


class DeployHosts(Block, StoredInventory):
    """An inventory of hosts. A deployment group names it as `inventory`, and chooses by `tag_sets`;
    EC2 actions choose by their tag if `deploy_hosts` in the settings of the pipeline names it.

    Example:
        ```python
        from prefect_codepipeline.blocks.deploy_hosts import DeployHosts
        from prefect_codepipeline.model.codedeploy.group import Host, SshAccess

        web = Host(name="web-1", address="10.0.0.11", tags={"role": "web", "stage": "production"})
        DeployHosts(hosts=[web], ssh=SshAccess(user="deploy", private_key_secret="deploy-key")).save("fleet")
        hosts = DeployHosts.load("BLOCK_NAME")
        ```
    """

    _block_type_name: ClassVar[str] = "Deploy Hosts"
    _block_type_slug: ClassVar[str] = StoredInventory.block_slug
    _description: ClassVar[str] = (
        "Hosts with tags, from which CodeDeploy deployment groups and EC2 actions choose."
    )
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl(
        "https://docs.aws.amazon.com/codedeploy/latest/userguide/instances-tagging.html"
    )
