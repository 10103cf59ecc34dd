"""`codepipeline hosts`: the hosts that are deployed to, and their host keys. A key is stored only if its fingerprint is confirmed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from prefect_codepipeline.cli.output import answer, print_json, print_line, print_table, without_control
from prefect_codepipeline.cli.parameters import AsJson
from prefect_codepipeline.cli.session import connect
from prefect_codepipeline.errors import CodePipelineError
from prefect_codepipeline.model.problem import nearest

if TYPE_CHECKING:
    from prefect_codepipeline.actions.deploying.connections.host_keys import HostKeyRefused
    from prefect_codepipeline.actions.deploying.host_lists import HostList
    from prefect_codepipeline.model.codedeploy.group import Host, SshAccess

GroupName = Annotated[
    str | None, Parameter(help="Only this deployment group with its own hosts: APPLICATION/GROUP, or GROUP.")
]
InventoryName = Annotated[str | None, Parameter(help="Only this inventory, a block of type Deploy Hosts.")]


def list_hosts(*, group: GroupName = None, inventory: InventoryName = None, json: AsJson = False) -> int:
    """List the hosts of inventories and deployment groups."""
    found = _lists(group, inventory)
    if json:
        print_json([_as_json(each, host) for each in found for host in each.hosts])
        return 0
    rows = [_row(each, host) for each in found for host in each.hosts]
    printed = [
        [f"(what {each.command[0]} prints)", "", "", "", each.name, ""] for each in found if each.command
    ]
    print_table(("Host", "Address", "User", "Tags", "In", "Known key"), [*rows, *printed])
    return 0


def trust(
    name: Annotated[str, Parameter(help="Name of the host.")],
    *,
    group: GroupName = None,
    inventory: InventoryName = None,
    yes: Annotated[
        list[str] | None,
        Parameter(
            negative=(),
            help="Trust the host without asking if its key has this fingerprint, SHA256:…; may be repeated for jump hosts.",
        ),
    ] = None,
    json: AsJson = False,
) -> int:
    """Show the fingerprint of a host's key, ask, and store the key in the known hosts of its block.

    The keys of jump hosts on the way are asked for, too. Compare each with what `ssh-keygen -lf` prints on the host for
    /etc/ssh/ssh_host_ed25519_key.pub.
    """
    if json and not yes:
        raise CodePipelineError(f"host {name!r} was not trusted: --json asks nothing, add --yes FINGERPRINT")
    place, host = _place_of(name, _lists(group, inventory))
    trusted: list[HostKeyRefused] = []
    was_empty = place.ssh.known_hosts is None
    why = _reach(place, host, yes, trusted)
    if not trusted and why:
        raise CodePipelineError(why)
    said = [f"{host.name}: its key is known already"] if not trusted else [
        f"stored in {place.what}: {each.place} {_shown(each)}" for each in trusted
    ]  # fmt: skip
    if trusted and was_empty:
        said.append(
            f"from now on, only the known hosts of {place.what} count for it, and no file of a worker"
        )
    said.append(f"the login was not tried to the end: {why}" if why else f"the login to {host.name!r} works")
    answer(
        json,
        {
            "name": host.name,
            "in": place.name,
            "trusted": [
                {"host": str(each.place), "fingerprint": each.key.get_fingerprint()} for each in trusted
            ],
            "login": why or "works",
        },
        *said,
    )
    return 0


def _reach(
    place: HostList, host: Host, yes: Collection[str] | None, trusted: list[HostKeyRefused]
) -> str | None:
    """Try to log in until no key on the way is unknown; each that is confirmed is stored. Why the login fails, or None."""
    from prefect_codepipeline.actions.deploying.connections.connection import HostUnreachable
    from prefect_codepipeline.actions.deploying.connections.host_keys import HostKeyRefused, with_key
    from prefect_codepipeline.actions.deploying.connections.opening import connected

    ssh = _login(place)

    async def log_in() -> None:
        async with connected(host, ssh, "hosts"):
            pass

    while True:
        try:
            asyncio.run(log_in())
            return None
        except HostKeyRefused as error:
            refused = error
        except HostUnreachable as error:
            return error.message
        _confirm(refused, yes)
        place.change_known_hosts(partial(with_key, refused=refused))
        ssh = ssh.model_copy(update={"known_hosts": with_key(ssh.known_hosts or "", refused)})
        trusted.append(refused)


def _login(place: HostList) -> SshAccess:
    """Only what the block knows counts. This machine may not have the key that workers have; a host key needs none."""
    ssh = place.login()
    changes: dict[str, Any] = {"known_hosts": ssh.known_hosts or ""}
    if ssh.private_key_path and not Path(ssh.private_key_path).expanduser().exists():
        changes |= {"private_key_path": None, "passphrase": None, "certificate": None}
    return ssh.model_copy(update=changes)


def _confirm(refused: HostKeyRefused, yes: Collection[str] | None) -> None:
    """Ask the user, or compare with the fingerprints of --yes. Raises `CodePipelineError` if it is not confirmed."""
    shown = _shown(refused)
    if yes:
        if refused.key.get_fingerprint() not in yes:
            raise CodePipelineError(f"{refused.who} presents the key {shown}, which --yes does not name")
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise CodePipelineError(
            f"{refused.who} presents the key {shown}: compare the fingerprint with that of the host, then confirm it with "
            f"--yes {refused.key.get_fingerprint()}"
        )
    print_line((refused.who, "bold"), f": {shown}")
    if refused.expected:
        print_line(("The key has changed. Another machine may answer in its place.", "red"))
    question = "Is this the fingerprint of the host's key, as the host itself shows it? [y/N] "
    if input(without_control(question)).strip().lower() not in ("y", "yes"):
        raise CodePipelineError(f"{refused.who}: not trusted")


def _shown(refused: HostKeyRefused) -> str:
    from prefect_codepipeline.actions.deploying.connections.host_keys import shown_key

    former = ", ".join(map(shown_key, refused.expected))
    return shown_key(refused.key) + (f" in place of the known {former}" if former else "")


def _lists(group: str | None, inventory: str | None) -> list[HostList]:
    connect()
    from prefect_codepipeline.actions.deploying.host_lists import host_lists

    found = [
        each
        for each in host_lists()
        if (not group or (each.group and group in (each.name, each.group.name)))
        and (not inventory or (not each.group and each.name == inventory))
    ]
    if not found and (group or inventory):
        what = f"deployment group {group!r} with hosts of its own" if group else f"inventory {inventory!r}"
        raise CodePipelineError(f"there is no {what}; see: codepipeline hosts list")
    return found


def _place_of(name: str, lists: list[HostList]) -> tuple[HostList, Host]:
    """Where a host is listed. The commands that print hosts are run only if there is but one list to look at."""
    looked = lists if len(lists) == 1 else [each for each in lists if not each.command]
    places = [(each, host) for each in looked if (host := each.host(name))]
    if not places:
        hint = nearest(name, {host.name for each in lists for host in each.hosts})
        command = next((each.name for each in lists if each.command and each not in looked), None)
        instead = f"is it one of those that a command prints? add --group {command}" if command else None
        raise CodePipelineError(
            f"there is no host {name!r}; {hint or instead or 'see: codepipeline hosts list'}"
        )
    if len(places) > 1:
        known = " and ".join(each.what for each, _ in places)
        raise CodePipelineError(f"host {name!r} is in {known}; add --group or --inventory")
    return places[0]


def _row(place: HostList, host: Host) -> tuple[str, ...]:
    shown = _as_json(place, host)
    port = f", port {host.port}" if host.port else ""
    tags = ", ".join(f"{key}={value}" for key, value in host.tags.items())
    return host.name, f"{host.address}{port}", shown["user"] or "", tags, place.name, shown["knownKey"]


def _as_json(place: HostList, host: Host) -> dict[str, Any]:
    """A host as programs read it. Of a block without known hosts, the file of each worker says which keys are known."""
    return {
        "name": host.name,
        "address": host.address,
        "port": host.port,
        "user": host.user or place.ssh.user,
        "tags": host.tags,
        "zone": host.zone,
        "in": place.name,
        "knownKey": _known(place, host),
    }


def _known(place: HostList, host: Host) -> str:
    text = place.ssh.known_hosts
    if text is None:
        return "the worker's file"
    names = {name for line in text.splitlines() for name in line.split(" ")[0].split(",")}
    if _names(host) & names:
        return "yes"
    return "perhaps" if any(each[:1] in "|@" or "*" in each or "?" in each for each in names) else "no"


def _names(host: Host) -> set[str]:
    return {host.address, f"[{host.address}]:{host.port or 22}"}
