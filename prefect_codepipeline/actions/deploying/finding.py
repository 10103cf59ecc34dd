"""Find the block of a CodeDeploy application, and a deployment group in it."""

from __future__ import annotations

from pydantic import SecretStr

from prefect_codepipeline.actions.commands.environment import secret_value
from prefect_codepipeline.actions.deploying.targets import inventory_of
from prefect_codepipeline.actions.work import required
from prefect_codepipeline.blocks.codedeploy_application import CodeDeployApplication
from prefect_codepipeline.model.codedeploy.applications import application_block
from prefect_codepipeline.model.codedeploy.group import DeploymentGroup, SshAccess
from prefect_codepipeline.model.codedeploy.inventory import access_of
from prefect_codepipeline.model.stored.inventory import StoredInventory
from prefect_codepipeline.prefect_api.block_documents import block_of, list_documents


def find_application(application: str) -> CodeDeployApplication | None:
    """The block of an application, or None.

    Raises:
        ActionFailed: with code `ConfigurationError`, the block's values are invalid, or several blocks are of this
            application.
    """
    # The block has no secrets, so that one request is enough.
    documents = {each["name"]: each for each in list_documents(CodeDeployApplication)}
    name = application_block(application, {name: each["data"] for name, each in documents.items()})
    return required(lambda: block_of(CodeDeployApplication, documents[name])) if name else None


def find_group(application: str, group: str) -> DeploymentGroup | None:
    """A deployment group as the block of its application describes it, with the private key, or None.

    Raises:
        ActionFailed: as `find_application`, or there is no Secret block of the private key, or no block of the inventory.
    """
    block = find_application(application)
    found = block.group(group) if block else None
    if found is None:
        return None
    return _with_access(
        found, inventory_of(found), f"deployment group {group!r} of application {application!r}"
    )


def group_of_inventory(group: DeploymentGroup) -> DeploymentGroup:
    """A group that no application has: all that is not in its settings is as its inventory says. Raises as `find_group`."""
    inventory = inventory_of(group)
    if inventory:
        group = group.model_copy(update={"state_folder": inventory.state_folder, "python": inventory.python})
    return _with_access(group, inventory, f"DeployHosts block {group.inventory!r}")


def _with_access(group: DeploymentGroup, inventory: StoredInventory | None, what: str) -> DeploymentGroup:
    """A group with what it needs to reach its hosts, of its inventory too. Raises as `with_private_key`."""
    ssh = access_of(group.ssh, inventory.ssh) if inventory else group.ssh
    return group.model_copy(update={"ssh": with_private_key(ssh, what)})


def with_private_key(ssh: SshAccess, what: str) -> SshAccess:
    """With the private key and the passphrase from their Secret blocks. Raises `ActionFailed` if one is missing."""

    def read(name: str | None) -> SecretStr | None:
        return SecretStr(secret_value(name, f"SSH of {what}")) if name else None

    keys = {"private_key": read(ssh.private_key_secret), "passphrase": read(ssh.passphrase_secret)}
    return ssh.model_copy(update=keys)
