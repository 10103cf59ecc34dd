"""Bundles of the shapes that people have, each deployed twice to a real host over SSH, by root and by another user.

The host has files and users of its own, so that everything is at its real path: see tests/support/hosts/own_machine.py.
Those that need root are refused where ec2-user deploys them, with the reason: CodeDeploy's agent runs as root.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from own_bundles import OWN
from own_machine import APPLICATION, COMMIT, OwnMachine, own_machine
from public_bundles import CORPUS, OF_CORPUS, PublicBundle

from prefect_codepipeline.actions.deploying.bundle import read_bundle
from prefect_codepipeline.documents.reading import read_document
from prefect_codepipeline.model.appspec.parsing import parse_appspec
from prefect_codepipeline.model.codedeploy.names import deployment_id, group_id

BUNDLES = {**OF_CORPUS, **OWN}
# More at a time would only wait for each other.
_AT_ONCE = 4


@dataclass
class Release:
    """What a deployment left on the host: the event that ended it, with its outcome, and what `OwnMachine` shows."""

    end: tuple[str, str]
    calls: list[str] = field(default_factory=list)
    environments: set[str] = field(default_factory=set)
    installed: list[str] = field(default_factory=list)
    texts: set[str] = field(default_factory=set)
    acls: dict[str, str] = field(default_factory=dict)


# One test for each user, and not for each bundle: the workers of a test run would each start these hosts.
@pytest.mark.parametrize("user", ["root", "ec2-user"])
def test_two_releases_of_each_are_deployed(user: str, tmp_path: Path) -> None:
    with own_machine(user, tmp_path) as machine:
        found = asyncio.run(asyncio.wait_for(deploy_all(machine), 200))

    for name, releases in found.items():
        assert releases == expected(name, BUNDLES[name], user), name


def test_all_that_can_be_deployed_of_the_corpus_are() -> None:
    documents = [read_document(file.read_bytes(), file.name) for file in CORPUS.glob("*appspec*.*")]
    deployable = {each.name for each in documents if parse_appspec(each.content, each.unquoted)[0]}
    assert deployable == {bundle.appspec for bundle in OF_CORPUS.values()}


def expected(name: str, bundle: PublicBundle, user: str) -> list[Release]:
    if bundle.refused and user != "root":
        return [Release(bundle.refused)]
    # The worker has PREFECT_HOME in its environment, which would be the last word.
    environment = f"{APPLICATION} {name} {group_id(APPLICATION, name)} {COMMIT} "
    return [
        Release(
            ("ValidateService", "Succeeded"),
            bundle.calls(version, before, user),
            {environment},
            # Which is all that is there: nothing of the release before.
            bundle.shown(version, user),
            {f"release {version}"},
            dict(bundle.acls),
        )
        for version, before in (("1", None), ("2", "1"))
    ]


async def deploy_all(machine: OwnMachine) -> dict[str, list[Release]]:
    places = asyncio.Semaphore(_AT_ONCE)

    async def both_releases(name: str) -> list[Release]:
        for path, content in BUNDLES[name].there.items():
            machine.put(path, content)
        async with places:
            found = [await deploy(machine, name, "1")]
            if found[0].calls:
                found.append(await deploy(machine, name, "2"))
        return found

    found = await asyncio.gather(*map(both_releases, BUNDLES))
    return dict(zip(BUNDLES, found, strict=True))


async def deploy(machine: OwnMachine, name: str, version: str) -> Release:
    bundle = BUNDLES[name]
    folder = bundle.write(machine.folder / f"{name}-{version}", version)
    deployment = deployment_id(name + version)
    last = (await machine.deploy(read_bundle(folder, "the bundle"), name, deployment))[-1]
    if last["state"] != "Succeeded":
        return Release((last["event"], last["message"]))
    installed = machine.installed([bundle.place, bundle.also])
    files = [path for line in installed if (path := machine.at(line.split(" ", 2)[2])).is_file()]
    return Release(
        (last["event"], last["state"]),
        *machine.calls(deployment),
        installed,
        {text for path in files if (text := path.read_text()).startswith("release")},
        {path: machine.acl(path) for path in bundle.acls},
    )
