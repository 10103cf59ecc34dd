"""An inventory: hosts with tags, from which deployment groups choose."""

from __future__ import annotations

from typing import ClassVar

from pydantic import ConfigDict, Field, field_validator

from prefect_codepipeline.model.codedeploy.group import STORE_SECRETS, Host, SshAccess, StateFolder
from prefect_codepipeline.model.names import refuse_repeated
from prefect_codepipeline.model.stored.content import BlockContent


class StoredInventory(BlockContent):
    """Hosts with their tags, and how they are reached."""

    # A refused value may contain a secret.
    model_config: ClassVar[ConfigDict] = ConfigDict(hide_input_in_errors=True)

    block_name: ClassVar[str] = "DeployHosts"
    block_slug: ClassVar[str] = "deploy-hosts"

    hosts: list[Host] = Field(default_factory=list, description="The hosts, each with its tags.")
    ssh: SshAccess = Field(
        default_factory=SshAccess,
        description="How the hosts are reached, unless a deployment group says otherwise.",
    )

    state_folder: StateFolder = Field(
        "~/.codedeploy",
        description="Folder on the hosts for what EC2 actions deployed; ~ is the user's home. Deployment groups have their own.",
    )
    python: str = Field(
        "python3",
        description="Python 3.6 or newer on the hosts, for EC2 actions. Deployment groups have their own.",
    )

    @field_validator("hosts")
    @classmethod
    def _has_each_host_once(cls, hosts: list[Host]) -> list[Host]:
        refuse_repeated(host.name for host in hosts)
        return hosts

    @field_validator("ssh")
    @classmethod
    def _has_no_secret(cls, ssh: SshAccess) -> SshAccess:
        if ssh.has_secrets:
            raise ValueError(STORE_SECRETS)
        return ssh
