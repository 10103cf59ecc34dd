"""The blocks in which hosts are listed, to look at them and to store their host keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prefect_codepipeline.actions.deploying.finding import with_private_key
from prefect_codepipeline.actions.deploying.targets import resolve_hosts
from prefect_codepipeline.blocks.codedeploy_application import CodeDeployApplication
from prefect_codepipeline.blocks.deploy_hosts import DeployHosts
from prefect_codepipeline.model.codedeploy.group import DeploymentGroup, Host, SshAccess
from prefect_codepipeline.model.stored.inventory import StoredInventory
from prefect_codepipeline.prefect_api.block_documents import Document, block_of, list_documents, save_block


@dataclass(frozen=True)
class HostList:
    """Hosts of one block: an inventory, or a deployment group with hosts of its own.

    Args:
        name: `fleet`, or `shop/web`.
        block: the name of the block.
        hosts: the hosts that are named in it.
        ssh: how they are reached.
        group: the deployment group, or None for an inventory.
    """

    name: str
    block: str
    hosts: tuple[Host, ...]
    ssh: SshAccess
    group: DeploymentGroup | None = None

    @property
    def what(self) -> str:
        """For sentences."""
        return f"deployment group {self.name!r}" if self.group else f"inventory {self.name!r}"

    @property
    def command(self) -> list[str] | None:
        """What prints the hosts, if they are not named."""
        return self.group.hosts_command if self.group else None

    def host(self, name: str) -> Host | None:
        """The host of that name. A command that prints hosts is run."""
        hosts = resolve_hosts(self.group) if self.group and self.command else self.hosts
        return next((host for host in hosts if host.name == name), None)

    def login(self) -> SshAccess:
        """How its hosts are reached, with the private key. Raises `ActionFailed` if its Secret block is missing."""
        return with_private_key(self.ssh, f"SSH of {self.what}")

    def change_known_hosts(self, change: Callable[[str], str]) -> None:
        """Change the known hosts of the block, as it is now."""
        if self.group is None:
            inventory = block_of(DeployHosts, _document(DeployHosts, self.block))
            ssh = _changed(inventory.ssh, change)
            save_block(inventory.model_copy(update={"ssh": ssh}), self.block)
            return
        application = block_of(CodeDeployApplication, _document(CodeDeployApplication, self.block))
        groups = [
            group.model_copy(update={"ssh": _changed(group.ssh, change)})
            if group.name == self.group.name
            else group
            for group in application.deployment_groups
        ]
        save_block(application.model_copy(update={"deployment_groups": groups}), self.block)


def host_lists() -> Iterator[HostList]:
    """All inventories, then all deployment groups on hosts that have them themselves."""
    for document in list_documents(StoredInventory):
        inventory = block_of(StoredInventory, document)
        yield HostList(document["name"], document["name"], tuple(inventory.hosts), inventory.ssh)
    for document in list_documents(CodeDeployApplication):
        application = block_of(CodeDeployApplication, document)
        for group in application.deployment_groups:
            if group.place == "hosts" and not group.inventory:
                name = f"{application.application_name or document['name']}/{group.name}"
                yield HostList(name, document["name"], tuple(group.hosts), group.ssh, group)


def _document(kind: type[CodeDeployApplication] | type[DeployHosts], name: str) -> Document:
    return list_documents(kind, {"any_": [name]})[0]


def _changed(ssh: SshAccess, change: Callable[[str], str]) -> SshAccess:
    return ssh.model_copy(update={"known_hosts": change(ssh.known_hosts or "")})
