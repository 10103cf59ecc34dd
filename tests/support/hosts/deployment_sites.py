"""Hosts for deployments: real sshd processes, each with a home of its own, bundles whose scripts leave a trace, and actions."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4

from ssh_hosts import SshHosts, ssh_hosts
from waiting import until

from prefect_codepipeline.actions.artifacts.storing import store_tree
from prefect_codepipeline.actions.deploying.records.deployments import find_deployment
from prefect_codepipeline.actions.deploying.rollout.deployment import deploy_to_hosts
from prefect_codepipeline.actions.deploying.rollout.target import Target
from prefect_codepipeline.actions.registry import ActionContext, ActionResult, Earlier, WorkGoesOn
from prefect_codepipeline.actions.work import InputTree, OutputTree
from prefect_codepipeline.blocks.artifact_store import ArtifactStore
from prefect_codepipeline.model.codedeploy.group import DeploymentGroup
from prefect_codepipeline.model.codedeploy.names import deployment_id, group_id
from prefect_codepipeline.model.definition.declaration import ActionDeclaration
from prefect_codepipeline.model.stored.deployment import StoredDeployment

HOOKS = ("ApplicationStop", "BeforeInstall", "AfterInstall", "ApplicationStart", "ValidateService")
# What scripts do in a first deployment of `v1`: there is no application to stop.
FIRST = [(event, "v1") for event in HOOKS[1:]]
# What a host is to do in an event is in files of its home: `fail-EVENT`, or `slow-EVENT` with a number of seconds.
SCRIPT = """#!/bin/sh
slow=$(cat "$HOME/slow-$LIFECYCLE_EVENT" 2>/dev/null)
echo "$DEPLOYMENT_ID $LIFECYCLE_EVENT VERSION begins" >> "$HOME/trace"
if [ "$slow" ]; then sleep "$slow"; fi
if [ -e "$HOME/fail-$LIFECYCLE_EVENT" ]; then echo "no room in $HOME"; exit 3; fi
echo "$DEPLOYMENT_ID $LIFECYCLE_EVENT VERSION ends" >> "$HOME/trace"
"""
_DECLARED = {
    "name": "Release",
    "actionTypeId": {"category": "Deploy", "owner": "AWS", "provider": "CodeDeploy", "version": "1"},
}


def write_bundle(folder: Path, version: str, hooks: tuple[str, ...] = HOOKS) -> Path:
    """A bundle whose scripts write their deployment, event and version to `trace` in the home of the host."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "script.sh").write_text(SCRIPT.replace("VERSION", version))
    lines = "".join(f"  {event}:\n    - location: script.sh\n      timeout: 60\n" for event in hooks)
    (folder / "appspec.yml").write_text(f"version: 0.0\nos: linux\nhooks:\n{lines}")
    return folder


@dataclass
class Action:
    """One action execution, which is called until it has ended, as the engine does."""

    site: Site
    bundle: Path
    group: DeploymentGroup
    id: str = field(default_factory=lambda: str(uuid4()))
    started: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    kept: Earlier | None = None
    told: list[str] = field(default_factory=list)
    seconds: float = 300.0
    execution: str = field(default_factory=lambda: str(uuid4()))

    def context(self) -> ActionContext:
        scratch = self.site.folder / f"scratch-{uuid4().hex}"
        scratch.mkdir()
        tree = InputTree("App", self.bundle, revision_id="c0ffee")
        stored = store_tree(self.site.store, "App", OutputTree(self.bundle), "c0ffee")
        return ActionContext(
            pipeline_name="shop",
            pipeline_execution_id=self.execution,
            stage_name="Prod",
            action=ActionDeclaration.model_validate(_DECLARED),
            action_execution_id=self.id,
            scratch=scratch,
            deadline=time.monotonic() + self.seconds,
            input_artifacts=[replace(tree, stored=stored)],
            logger=logging.getLogger("deploying"),
            report_progress=self._report,
            keep=self._keep,
            earlier=self.kept,
            store=self.site.store,
        )

    def look(self, context: ActionContext | None = None) -> ActionResult | None:
        """Call the provider's function once; its result, or None if the action waits."""
        try:
            return deploy_to_hosts(Target("shop", self.group, context or self.context()))
        except WorkGoesOn as work:
            self.told.append(work.waiting.summary)
            return None
        finally:
            self.kept = self.kept or Earlier(self.started)

    def run(self) -> ActionResult:
        """Call it until it has ended. Raises what it raises."""
        return until(self.look, self.seconds)  # type: ignore[no-any-return]

    def _report(self, summary: str = "", percent: int | None = None, **_ids: object) -> None:
        if summary and summary not in self.told[-1:]:
            self.told.append(summary)

    def _keep(self, external_id: str | None = None, url: str | None = None, **state: str) -> None:
        before = self.kept or Earlier(self.started)
        self.kept = replace(
            before, external_id=external_id or before.external_id, state={**before.state, **state}
        )


def recorded(action: Action) -> StoredDeployment:
    """The record of the deployment of an action."""
    return of_id(deployment_id(action.id))


def of_id(deployment: str) -> StoredDeployment:
    """The record of the deployment of that id."""
    found = find_deployment(deployment)
    assert found
    return found.deployment


@dataclass
class Site:
    """A deployment group of real hosts, and where its bundles and artifacts are."""

    hosts: SshHosts
    folder: Path
    store: ArtifactStore
    name: str = field(default_factory=lambda: f"web-{uuid4().hex[:8]}")

    def group(self, **settings: Any) -> DeploymentGroup:
        hosts = [each.host for each in self.hosts]
        changed = {"hosts": hosts, "where": "hosts", "ssh": self.hosts.access(), **settings}
        return DeploymentGroup(name=self.name, **changed)

    def action(self, version: str = "v1", **settings: Any) -> Action:
        """An action that deploys the bundle of a version."""
        bundle = write_bundle(self.folder / f"bundle-{version}", version)
        return Action(self, bundle, self.group(**settings))

    def home(self, host: int) -> Path:
        return self.hosts[host].folder

    def order(self, host: int, **to_do: str | None) -> None:
        """What a host is to do in events: `AfterInstall="fail"`, or a number of seconds, or None for nothing."""
        for event, what in to_do.items():
            for kind in ("fail", "slow"):
                (self.home(host) / f"{kind}-{event}").unlink(missing_ok=True)
            if what:
                name = "fail" if what == "fail" else "slow"
                (self.home(host) / f"{name}-{event}").write_text(what)

    def trace(self, host: int) -> list[str]:
        """What the scripts of a host wrote."""
        path = self.home(host) / "trace"
        return path.read_text().splitlines() if path.exists() else []

    def ran(self, host: int) -> list[tuple[str, str]]:
        """The events of a host whose script ended, each with the version of its script."""
        parts = [line.split() for line in self.trace(host)]
        return [(event, version) for _, event, version, what in parts if what == "ends"]

    @property
    def state(self) -> str:
        """The folder of the group below the home of each host."""
        return f".codedeploy/{group_id('shop', self.name)}"


@contextmanager
def hosts_with_homes(count: int) -> Iterator[SshHosts]:
    """So many hosts, whose user has a home of its own on each; all that runs on them is ended at the end of the block."""
    with ssh_hosts(count, SetEnv="HOME={folder}") as hosts:
        yield hosts


def new_site(hosts: SshHosts, folder: Path) -> Site:
    """A new deployment group of these hosts, on which no earlier test left anything to do."""
    for host in hosts:
        for path in [host.folder / "trace", *host.folder.glob("fail-*"), *host.folder.glob("slow-*")]:
            path.unlink(missing_ok=True)
    return Site(hosts, folder, ArtifactStore(url=str(folder / "artifacts")))
