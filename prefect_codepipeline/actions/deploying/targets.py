"""The hosts of a deployment group, as they are when a deployment starts."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from prefect_codepipeline.actions.deploying.commands.running import Ended, Runner, run_command
from prefect_codepipeline.actions.work import required
from prefect_codepipeline.errors import wrong_configuration
from prefect_codepipeline.model.codedeploy.group import DeploymentConfig, DeploymentGroup, Host
from prefect_codepipeline.model.codedeploy.inventory import tags_in_words, with_tags
from prefect_codepipeline.model.stored.inventory import StoredInventory
from prefect_codepipeline.prefect_api.block_documents import field_problems, load_block

MOST_HOSTS = 500
SECONDS_OF_COMMAND = 60.0
MOST_BYTES_OF_COMMAND = 4_000_000
_HOSTS = TypeAdapter(list[Host])
# What the command prints on its standard error is no part of the list.
_APART = 'exec "$@" 2>"$0"'


def resolve_hosts(group: DeploymentGroup, name: str | None = None) -> list[Host]:
    """The hosts that a group deploys to: named ones, those of its inventory that have its tags, or what its command prints.

    Args:
        group: the settings.
        name: what messages call it, if it is no deployment group.

    Raises:
        ActionFailed: with code `ConfigurationError`, there are none, or too many, or one of them twice; or the inventory
            or the command does not work.
    """
    what = name or f"deployment group {group.name!r}"
    hosts = _hosts(group, what)
    if not hosts:
        raise wrong_configuration(f"NO_INSTANCES: {what} has no hosts: {_why(group)}")
    if len(hosts) > MOST_HOSTS:
        raise wrong_configuration(
            f"{what} has {len(hosts)} hosts, but at most {MOST_HOSTS} are possible; divide it"
        )
    _check_each_once(what, hosts)
    _check_zones(group, hosts)
    return hosts


def inventory_of(group: DeploymentGroup) -> StoredInventory | None:
    """The inventory that a group chooses from, or None. Raises `ActionFailed` if it is missing or cannot be used."""
    name = group.inventory
    if not name:
        return None
    command = "the block type Deploy Hosts in Prefect's UI, or DeployHosts(...).save() in Python"
    return required(lambda: load_block(StoredInventory, name, command=command))


def _hosts(group: DeploymentGroup, what: str) -> list[Host]:
    if group.place == "local":
        return [Host(name=socket.gethostname(), address="localhost")]
    if inventory := inventory_of(group):
        return with_tags(inventory.hosts, group.tag_sets)
    if group.hosts_command:
        return _printed(what, group.hosts_command)
    return list(group.hosts)


def _why(group: DeploymentGroup) -> str:
    if group.inventory:
        return f"no host of inventory {group.inventory!r} has {tags_in_words(group)}"
    if group.hosts_command:
        return f"its hosts_command {group.hosts_command[0]!r} prints an empty list"
    return "name hosts, tag_sets of an inventory, or a hosts_command in its block"


def _check_each_once(what: str, hosts: Sequence[Host]) -> None:
    """Two deployments to one machine at once would disturb one another."""
    addresses = [
        f"{host.user or ''}@{host.address}, port {host.port or 22}".removeprefix("@") for host in hosts
    ]
    for kind, values in (("name", [host.name for host in hosts]), ("address", addresses)):
        value, count = Counter(values).most_common(1)[0]
        if count > 1:
            raise wrong_configuration(
                f"{what} has {count} hosts with the {kind} {value}; name each host once"
            )


def _check_zones(group: DeploymentGroup, hosts: Sequence[Host]) -> None:
    config = group.deployment_config
    without = [host.name for host in hosts if not host.zone]
    if isinstance(config, DeploymentConfig) and config.zonal_config and without:
        raise wrong_configuration(
            f"deployment group {group.name!r} is deployed zone by zone, but {without[0]!r} has no zone; add it to the host"
        )


def _printed(group: str, command: Sequence[str]) -> list[Host]:
    what = f"hosts_command {command[0]!r} of {group}"
    ended, errors = _run(command)
    if not ended.succeeded:
        raise wrong_configuration(f"{what} {ended.how(SECONDS_OF_COMMAND)}{_words(errors)}")
    try:
        return _HOSTS.validate_json(ended.output)
    except ValidationError as error:
        raise wrong_configuration(
            f"{what} does not print a JSON list of hosts with name and address: {field_problems(error)}"
        ) from None


def _run(command: Sequence[str]) -> tuple[Ended, str]:
    handle, path = tempfile.mkstemp(prefix="hosts-command-")
    os.close(handle)
    try:
        apart = ["/bin/sh", "-c", _APART, path, *command]
        running = run_command(
            Runner.on_worker(), apart, {}, SECONDS_OF_COMMAND, most_bytes=MOST_BYTES_OF_COMMAND
        )
        return asyncio.run(running), Path(path).read_text(errors="replace")
    finally:
        os.unlink(path)


def _words(errors: str) -> str:
    last = " / ".join(line.strip() for line in errors.splitlines()[-5:] if line.strip())
    return f"; its last errors: {last[-500:]}" if last else ""
