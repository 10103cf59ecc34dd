"""An action type that job workers serve: a custom one, or a published one."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import ConfigDict, Field, SecretStr

from prefect_codepipeline.model.definition.action_types import ActionType
from prefect_codepipeline.model.definition.declaration import ActionCategory, ActionOwner, ActionTypeId
from prefect_codepipeline.model.definition.own_types import (
    ArtifactCounts,
    ConfigurationProperty,
    CustomActionType,
    filled_url,
    row_of,
)
from prefect_codepipeline.model.names import slug
from prefect_codepipeline.model.stored.content import BlockContent


class StoredActionType(BlockContent):
    """An action type as AWS's API describes it. A version never changes, and a deleted one keeps its version."""

    # A refused value may be a secret.
    model_config: ClassVar[ConfigDict] = ConfigDict(hide_input_in_errors=True)

    block_name: ClassVar[str] = "CodePipelineActionType"
    block_slug: ClassVar[str] = "codepipeline-action-type"

    category: ActionCategory = Field(description="Source, Build, Test, Deploy, Invoke, Approval or Compute.")
    owner: ActionOwner = Field("Custom", description="Custom; ThirdParty or AWS for a published type.")
    provider: str = Field(description="Name of the provider.")
    version: str = Field(description="Version of the action type.")
    settings: dict[str, Any] = Field(
        default_factory=dict, description="URL templates, named as in AWS's ActionTypeSettings."
    )
    configuration_properties: list[dict[str, Any]] = Field(
        default_factory=list, description="Configuration keys, as AWS's ActionConfigurationProperty."
    )
    input_artifact_details: dict[str, int] = Field(description="minimumCount and maximumCount.")
    output_artifact_details: dict[str, int] = Field(description="minimumCount and maximumCount.")
    deleted: bool = Field(False, description="Deleted: workers and new pipelines cannot use it.")
    declaration: dict[str, Any] | None = Field(
        None, description="What GetActionType returns; only of a published type."
    )
    served_by: str | None = Field(
        None, description="The custom type whose workers serve this one too; of ThirdParty types."
    )
    client_id: str | None = Field(
        None, description="Which workers PollForThirdPartyJobs names; of ThirdParty types."
    )
    client_token: SecretStr | None = Field(None, description="The secret of these workers.")

    @classmethod
    def of(cls, kind: CustomActionType, owner: ActionOwner = "Custom", **other: Any) -> Self:
        """The content for an input of CreateCustomActionType."""
        return cls(
            category=kind.category,
            owner=owner,
            provider=kind.provider,
            version=kind.version,
            settings=kind.settings.to_wire() if kind.settings else {},
            configuration_properties=[each.to_wire() for each in kind.configuration_properties],
            input_artifact_details=kind.input_artifact_details.to_wire(),
            output_artifact_details=kind.output_artifact_details.to_wire(),
            **other,
        )

    @property
    def id(self) -> ActionTypeId:
        return ActionTypeId(
            category=self.category, owner=self.owner, provider=self.provider, version=self.version
        )

    @property
    def polled_as(self) -> str:
        """The type that its workers ask for."""
        return self.served_by or str(self.id)

    @property
    def arn_kind(self) -> str:
        """The type as its ARN names it: `Custom/Build/Acme/1`."""
        return f"{self.owner}/{self.category}/{self.provider}/{self.version}"

    @property
    def properties(self) -> list[ConfigurationProperty]:
        return [ConfigurationProperty.model_validate(each) for each in self.configuration_properties]

    @property
    def secrets(self) -> frozenset[str]:
        """The configuration keys whose values are secret."""
        return frozenset(each.name for each in self.properties if each.secret)

    @property
    def queryable(self) -> str | None:
        """The configuration key that PollForJobs can filter by."""
        return next((each.name for each in self.properties if each.queryable), None)

    @property
    def row(self) -> ActionType:
        """The type as a row of AWS's table, by which definitions are checked."""
        return row_of(
            self.id,
            self.properties,
            ArtifactCounts.model_validate(self.input_artifact_details),
            ArtifactCounts.model_validate(self.output_artifact_details),
        )

    def entity_url(self, configuration: dict[str, str]) -> str | None:
        """The page of what an action works on."""
        return filled_url(self.settings.get("entityUrlTemplate"), configuration)

    def execution_url(self, configuration: dict[str, str], external_execution_id: str | None) -> str | None:
        """The page of one run of an action."""
        return filled_url(self.settings.get("executionUrlTemplate"), configuration, external_execution_id)

    def revision_url(self, configuration: dict[str, str]) -> str | None:
        """The page of the revision of a source action."""
        return filled_url(self.settings.get("revisionUrlTemplate"), configuration)

    def has_definition_of(self, other: StoredActionType) -> bool:
        """Whether both describe the same, apart from being deleted and from the secrets of workers."""
        own = {"deleted", "served_by", "client_id", "client_token"}
        return self.model_dump(exclude=own) == other.model_dump(exclude=own)

    def to_wire(self) -> dict[str, Any]:
        """The type as `ActionType` of AWS's API."""
        return {
            "id": self.id.to_wire(),
            "settings": self.settings or None,
            "actionConfigurationProperties": self.configuration_properties,
            "inputArtifactDetails": self.input_artifact_details,
            "outputArtifactDetails": self.output_artifact_details,
        }


def document_name(kind: ActionTypeId) -> str:
    """The name of the block of an action type."""
    return slug(kind.owner, kind.category, kind.provider, kind.version)
