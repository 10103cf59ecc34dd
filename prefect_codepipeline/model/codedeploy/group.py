"""The settings of a CodeDeploy deployment group whose hosts are reached from here.

https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_DeploymentGroupInfo.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from prefect_codepipeline.model.codedeploy.predefined import PredefinedConfig, RollbackEvent
from prefect_codepipeline.model.names import refuse_repeated

Where = Literal["hosts", "local", "aws"]
FileExistsBehavior = Literal["DISALLOW", "OVERWRITE", "RETAIN"]
# A program and its arguments; no shell reads them.
Command = Annotated[list[str], Field(min_length=1)]


def _place(folder: str) -> str:
    if not folder.startswith(("/", "~/")):
        raise ValueError(f"{folder!r} is not a path that starts with / or ~/")
    return folder


StateFolder = Annotated[str, AfterValidator(_place)]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Host(_Settings):
    """A machine that is deployed to."""

    name: str = Field(
        min_length=1,
        max_length=200,
        pattern=r"\A[^\s\p{C}](.*[^\s\p{C}])?\z",
        description="Name of the host in messages and records.",
    )
    address: str = Field(
        pattern=r"\A[^\s\p{C}-][^\s\p{C}]*\z",
        description="Its name or address in the network, or in ~/.ssh/config.",
    )
    port: int | None = Field(None, ge=1, le=65535, description="Port of SSH; 22 if empty.")
    user: str | None = Field(None, min_length=1, description="User on the host; that of the group if empty.")
    tags: dict[str, str] = Field(default_factory=dict, description="Tags, by which groups choose hosts.")
    zone: str | None = Field(None, min_length=1, description="Its zone, for zonal deployment configurations.")


class TagFilter(_Settings):
    """One tag that a host must have."""

    key: str | None = Field(None, description="Key of the tag.")
    value: str | None = Field(None, description="Value of the tag.")
    type: Literal["KEY_ONLY", "VALUE_ONLY", "KEY_AND_VALUE"] = Field(
        "KEY_AND_VALUE", description="What of the tag is compared."
    )

    @model_validator(mode="after")
    def _has_what_is_compared(self) -> TagFilter:
        wanted = {"KEY_ONLY": ("key",), "VALUE_ONLY": ("value",), "KEY_AND_VALUE": ("key", "value")}[
            self.type
        ]
        if missing := [name for name in wanted if getattr(self, name) is None]:
            raise ValueError(f"{self.type} needs {' and '.join(missing)}")
        return self


class SshAccess(_Settings):
    """How hosts are reached over SSH. Host keys are always checked."""

    user: str | None = Field(None, min_length=1, description="User on the hosts; the worker's if empty.")
    private_key_secret: str | None = Field(
        None,
        min_length=1,
        description="Name of the Secret block that has the private key; the keys of the SSH agent if there is none.",
    )
    private_key_path: str | None = Field(None, description="Path of the private key on the worker.")
    passphrase_secret: str | None = Field(
        None, min_length=1, description="Name of the Secret block that has the private key's passphrase."
    )
    # Read from the Secret blocks when a deployment starts. Prefect does not hide secrets inside a list from those
    # who may see the block, so neither a block nor a form has them.
    private_key: SecretStr | None = Field(None, description="The private key, as text.")
    passphrase: SecretStr | None = Field(None, description="Passphrase of the private key.")
    certificate: str | None = Field(None, description="The key's OpenSSH certificate, as text.")
    proxy_jump: str | None = Field(
        None, description="Host to connect through, as `user@host:port`; several with commas between."
    )
    known_hosts: str | None = Field(
        None, description="Lines of a known_hosts file; the worker's ~/.ssh/known_hosts if empty."
    )
    config_path: str | None = Field(
        None, description="Configuration of SSH on the worker; ~/.ssh/config if empty."
    )
    connect_timeout_in_seconds: int = Field(
        30, ge=1, le=600, description="A host that does not answer in time is tried again."
    )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        found = handler.resolve_ref_schema(handler(schema))
        for name in _RESOLVED:
            found["properties"].pop(name, None)
        return found

    @property
    def has_secrets(self) -> bool:
        """Whether the key or its passphrase is here as text, and not by the name of its Secret block."""
        return bool(self.private_key or self.passphrase)

    @model_validator(mode="after")
    def _has_one_key(self) -> SshAccess:
        if self.private_key_secret and self.private_key_path:
            raise ValueError("private_key_secret and private_key_path exclude one another")
        if self.passphrase_secret and not (self.private_key_secret or self.private_key_path):
            raise ValueError("passphrase_secret needs private_key_secret or private_key_path")
        return self


_RESOLVED = ("private_key", "passphrase")
# What to do with them, for who writes them into a block.
STORE_SECRETS = (
    "store the private key and its passphrase with `codepipeline secret add NAME`, and write the name as "
    "private_key_secret or passphrase_secret"
)


class MinimumHealthyHosts(_Settings):
    """How many hosts must stay healthy."""

    type: Literal["HOST_COUNT", "FLEET_PERCENT"] = Field(
        description="Whether value is a number or a percentage."
    )
    value: int = Field(ge=0, description="The number, or the percentage, which is rounded up to whole hosts.")

    @model_validator(mode="after")
    def _is_possible(self) -> MinimumHealthyHosts:
        if self.type == "FLEET_PERCENT" and self.value > 100:
            raise ValueError(f"FLEET_PERCENT is at most 100, not {self.value}")
        return self


class ZonalConfig(_Settings):
    """Deploy to one zone after the other."""

    monitor_duration_in_seconds: int = Field(
        0, ge=0, description="Pause after each zone, in which alarms count."
    )
    first_zone_monitor_duration_in_seconds: int | None = Field(
        None, ge=0, description="The pause after the first zone; that of each zone if empty."
    )
    minimum_healthy_hosts_per_zone: MinimumHealthyHosts | None = Field(
        None, description="How many hosts of each zone must stay healthy."
    )


class DeploymentConfig(_Settings):
    """How many hosts are deployed to at once."""

    minimum_healthy_hosts: MinimumHealthyHosts = Field(description="How many hosts must stay healthy.")
    zonal_config: ZonalConfig | None = Field(None, description="Deploy to one zone after the other.")


class Traffic(_Settings):
    """How a host is taken out of the traffic, and put back. Without it the traffic events do not exist."""

    on: Literal["worker", "host"] = Field("worker", description="Where the commands run.")
    block: Command | None = Field(
        None, description="Takes the host out. HOST, ADDRESS and DEPLOYMENT_ID are set."
    )
    allow: Command | None = Field(None, description="Puts the host back.")
    wait: Command | None = Field(
        None,
        description="Succeeds when traffic is gone, or back: LIFECYCLE_EVENT is BlockTraffic or AllowTraffic.",
    )
    timeout_in_seconds: int = Field(
        300, ge=1, le=3600, description="A command or a wait that takes longer fails."
    )
    target_groups: list[str] = Field(
        default_factory=list, description="Names of ELBv2 target groups, in place of commands."
    )

    @model_validator(mode="after")
    def _is_one_way(self) -> Traffic:
        commands = [name for name in ("block", "allow", "wait") if getattr(self, name)]
        if self.target_groups and commands:
            raise ValueError(f"target_groups and {', '.join(commands)} exclude one another")
        if self.target_groups and self.on == "host":
            raise ValueError("target_groups are changed by the worker; leave 'on' out")
        if not self.target_groups and not (self.block and self.allow):
            raise ValueError("needs block and allow, or target_groups")
        return self


class Alarms(_Settings):
    """What is looked at while hosts are deployed, and after: any alarm stops the deployment."""

    cloudwatch: list[str] = Field(default_factory=list, description="Names of CloudWatch alarms.")
    urls: list[str] = Field(default_factory=list, description="URLs that must answer with 200 to 299.")
    commands: list[Command] = Field(
        default_factory=list, description="Commands on the worker that must exit with 0."
    )
    ignore_poll_failure: bool = Field(False, description="An alarm that cannot be read is no alarm.")
    watch_after_in_seconds: int = Field(
        0, ge=0, le=86400, description="They are looked at for this time after the last host."
    )

    @field_validator("urls")
    @classmethod
    def _are_web_addresses(cls, urls: list[str]) -> list[str]:
        if wrong := [url for url in urls if not url.startswith(("http://", "https://"))]:
            raise ValueError(f"{wrong[0]!r} is not a URL; it starts with http:// or https://")
        return urls


class DeploymentGroup(_Settings):
    """One deployment group of an application."""

    name: str = Field(min_length=1, max_length=100, description="DeploymentGroupName of the actions.")
    where: Where | None = Field(
        None,
        description="'hosts': by SSH; 'local': this worker's machine; 'aws': CodeDeploy in AWS. If empty: hosts if some are "
        "named, else aws.",
    )
    hosts: list[Host] = Field(default_factory=list, description="Hosts by name and address.")
    tag_sets: list[Annotated[list[TagFilter], Field(min_length=1)]] = Field(
        default_factory=list,
        description="Hosts of the inventory that have a tag of each of these lists, as ec2TagSet.",
    )
    inventory: str | None = Field(
        None, description="Name of the DeployHosts block that tag_sets choose from."
    )
    hosts_command: Command | None = Field(
        None, description="Command on the worker that prints the hosts as a JSON list."
    )
    ssh: SshAccess = Field(default_factory=SshAccess, description="How the hosts are reached.")
    deployment_config: PredefinedConfig | DeploymentConfig = Field(
        "CodeDeployDefault.OneAtATime", description="How many hosts are deployed to at once."
    )
    auto_rollback: list[RollbackEvent] = Field(
        default_factory=list, description="When the last good revision is deployed again."
    )
    alarms: Alarms = Field(default_factory=Alarms, description="What stops a deployment.")
    ignore_application_stop_failures: bool = Field(
        False, description="Go on if a script of ApplicationStop or of the block traffic events fails."
    )
    file_exists_behavior: FileExistsBehavior = Field(
        "DISALLOW", description="What happens to files that are there and were not deployed."
    )
    traffic: Traffic | None = Field(
        None, description="Takes hosts out of the traffic while they are deployed."
    )
    state_folder: StateFolder = Field(
        "~/.codedeploy", description="Folder on the hosts for revisions and records; ~ is the user's home."
    )
    outputs_left_open: Literal["warn", "fail"] = Field(
        "warn",
        description="A script that leaves a child holding its output: 'warn' after five seconds, or 'fail' at the script's "
        "timeout, as in AWS.",
    )
    python: str = Field("python3", description="Python 3.6 or newer on the hosts.")

    @property
    def place(self) -> Where:
        """Where the group's hosts are: what `where` says, else hosts if some are named, else AWS."""
        return self.where or ("hosts" if self._targets() else "aws")

    @field_validator("hosts")
    @classmethod
    def _has_each_host_once(cls, hosts: list[Host]) -> list[Host]:
        refuse_repeated(host.name for host in hosts)
        return hosts

    @model_validator(mode="after")
    def _check_targets(self) -> DeploymentGroup:
        targets = self._targets()
        if len(targets) > 1:
            raise ValueError(f"{' and '.join(targets)} exclude one another")
        if bool(self.tag_sets) != bool(self.inventory):
            raise ValueError("tag_sets and inventory belong together: tags choose hosts of an inventory")
        if self.where == "hosts" and not targets:
            raise ValueError("where is 'hosts', but there are no hosts, tag_sets or hosts_command")
        if self.where in ("local", "aws"):
            here = [*targets, *(["traffic"] if self.traffic else [])]
            if here:
                raise ValueError(f"{' and '.join(here)}: only for hosts, but where is {self.where!r}")
        return self

    @model_validator(mode="after")
    def _check_zones(self) -> DeploymentGroup:
        config = self.deployment_config
        if isinstance(config, DeploymentConfig) and config.zonal_config:
            if self.where == "local":
                raise ValueError("zonal_config: this machine has no zones")
            if without := [host.name for host in self.hosts if not host.zone]:
                raise ValueError(f"zonal_config: {', '.join(without)} has no zone")
        return self

    def warnings(self) -> Iterator[str]:
        """A sentence for each setting that hardly does what was meant."""
        config = self.deployment_config
        if not isinstance(config, DeploymentConfig) or config.minimum_healthy_hosts.type != "HOST_COUNT":
            return
        hosts = 1 if self.place == "local" else len(self.hosts)
        if hosts and config.minimum_healthy_hosts.value >= hosts:
            yield (
                f"deployment group {self.name!r}: minimum_healthy_hosts is {config.minimum_healthy_hosts.value}, and it "
                f"has {hosts} host{'s' if hosts > 1 else ''}: one host at a time, and any failure fails the deployment"
            )

    def _targets(self) -> list[str]:
        return [name for name in ("hosts", "tag_sets", "hosts_command") if getattr(self, name)]
