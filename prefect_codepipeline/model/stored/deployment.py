"""The record of one CodeDeploy deployment to hosts, and what is known of a deployment group between deployments."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Literal

from pydantic import Field

from prefect_codepipeline.model.codedeploy.group import DeploymentConfig, DeploymentGroup, Host
from prefect_codepipeline.model.codedeploy.health import HostHealth
from prefect_codepipeline.model.codedeploy.healthy_hosts import (
    HostLimits,
    HostStatus,
    PlannedHost,
    config_of,
)
from prefect_codepipeline.model.record.artifacts import StoredArtifact
from prefect_codepipeline.model.records import Record
from prefect_codepipeline.model.stored.content import BlockContent

DeploymentStatus = Literal["Created", "InProgress", "Baking", "Succeeded", "Failed", "Stopped"]
EventStatus = Literal["InProgress", "Succeeded", "Failed", "Skipped", "Stopped"]
StopCause = Literal["alarm", "request"]
ENDED: tuple[HostStatus, ...] = ("Succeeded", "Failed", "Stopped", "Skipped")


class HostEvent(Record):
    """A lifecycle event of a host: its status, and of a failure the script, the reason and the end of the output."""

    event: str
    status: EventStatus
    started: datetime | None = None
    ended: datetime | None = None
    code: str | None = None
    script: str | None = None
    message: str | None = None
    log: str | None = None
    warnings: tuple[str, ...] = ()


class DeployedHost(Record):
    """One host of a deployment.

    `code` and `error` are why it failed; `unreachable_since` is since when it could not be reached. `was_touched` is
    recorded before the first order is sent: from then on the deployment may have changed something on it.
    """

    host: Host
    status: HostStatus = "Pending"
    events: tuple[HostEvent, ...] = ()
    code: str | None = None
    error: str | None = None
    started: datetime | None = None
    ended: datetime | None = None
    unreachable_since: datetime | None = None
    was_touched: bool = False

    @property
    def name(self) -> str:
        return self.host.name

    @property
    def planned(self) -> PlannedHost:
        return PlannedHost(self.host.name, self.status, self.host.zone)

    def event(self, name: str) -> HostEvent | None:
        """An event of the host, or None if it has not begun."""
        return next((each for each in self.events if each.event == name), None)

    def with_event(self, event: HostEvent) -> DeployedHost:
        """The host with that event as it is now."""
        others = [each for each in self.events if each.event != event.event]
        place = next((n for n, each in enumerate(self.events) if each.event == event.event), len(others))
        return self.model_copy(update={"events": (*others[:place], event, *others[place:])})


class StoredDeployment(BlockContent):
    """One deployment: what is deployed to which hosts, how far it is, and how it ended."""

    block_name: ClassVar[str] = "CodeDeployDeployment"
    block_slug: ClassVar[str] = "codedeploy-deployment"

    deployment_id: str = Field(description="`d-` and nine characters.")
    application: str = Field(description="Name of the application.")
    group: str = Field(description="Name of the deployment group.")
    group_id: str = Field(description="Id of the deployment group.")
    revision: str = Field(description="SHA-256 of the bundle.")
    appspec: dict[str, Any] = Field(description="The bundle's AppSpec.")
    commit: str | None = Field(None, description="Revision of the source that the bundle was made from.")
    artifact: StoredArtifact | None = Field(None, description="The bundle in the artifact store.")
    settings: DeploymentGroup = Field(
        description="Settings of the group at the start, without access to hosts."
    )
    limits: HostLimits | None = Field(
        None, description="Of an EC2 action, which has no deployment configuration."
    )
    status: DeploymentStatus = Field("Created", description="AWS's name of the status.")
    error: str | None = Field(None, description="Why it failed or was stopped.")
    stopped_by: StopCause | None = Field(None, description="What stopped it: an alarm or a request.")
    hosts: list[DeployedHost] = Field(description="The hosts in the order in which they are deployed to.")
    zones: dict[str, datetime] = Field(default_factory=dict, description="When each zone had ended.")
    pipeline: str = Field("", description="Name of the pipeline.")
    execution_id: str = Field("", description="The pipeline execution; empty if a person started it.")
    action_execution_id: str = Field("", description="The action execution.")
    rollback_of: str | None = Field(None, description="Id of the deployment that this one rolls back.")
    rolled_back_by: str | None = Field(None, description="Id of the deployment that rolls this one back.")
    created: datetime = Field(description="When it was created.")
    changed: datetime = Field(description="When something last happened on a host.")
    ended: datetime | None = Field(None, description="When it ended.")

    @property
    def has_ended(self) -> bool:
        return self.status in ("Succeeded", "Failed", "Stopped")

    @property
    def is_of_ec2_action(self) -> bool:
        """Hosts that have the same are left out, and files of earlier deployments stay."""
        return self.limits is not None

    @property
    def config(self) -> DeploymentConfig | HostLimits:
        """How many hosts are deployed to at once, and how many may fail."""
        return self.limits or config_of(self.settings.deployment_config)

    @property
    def planned(self) -> list[PlannedHost]:
        return [host.planned for host in self.hosts]


class StoredGroup(BlockContent):
    """A deployment group between deployments: its revision and the health of its hosts."""

    block_name: ClassVar[str] = "CodeDeployGroup"
    block_slug: ClassVar[str] = "codedeploy-group"

    application: str = Field(description="Name of the application.")
    group: str = Field(description="Name of the deployment group.")
    revision: str | None = Field(None, description="Revision of the last successful deployment.")
    deployment_id: str | None = Field(None, description="Id of the last successful deployment.")
    hosts: dict[str, HostHealth] = Field(default_factory=dict, description="The health of each host.")


def document_name(deployment_id: str) -> str:
    """The name of the block that has the record of a deployment."""
    return deployment_id.lower()
