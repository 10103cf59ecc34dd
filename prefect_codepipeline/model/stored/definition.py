"""One version of a pipeline definition, stored permanently: an execution keeps the version that it started with."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import Field, Secret

from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.names import slug
from prefect_codepipeline.model.stored.content import BlockContent

# AWS returns this text instead of a secret.
MASK = "****"


class StoredDefinition(BlockContent):
    """A version of a pipeline's definition, with its secrets apart."""

    block_name: ClassVar[str] = "PipelineDefinition"
    block_slug: ClassVar[str] = "pipeline-definition"

    pipeline_name: str = Field(description="The pipeline's name in CodePipeline.")
    version: int = Field(description="The version number; starts at 1, incremented by each update.")
    declaration: dict[str, Any] = Field(description="The definition as AWS returns it, with secrets masked.")
    secrets: Secret[dict[str, Any]] = Field(
        default_factory=lambda: Secret[dict[str, Any]]({}),
        description="The masked values, keyed by 'stage index/action index/configuration key'.",
    )
    created_by: str = Field(
        "",
        description="Who created this version by the AWS API, which starts the first execution of version 1.",
    )

    @classmethod
    def of(cls, declaration: PipelineDeclaration, secret_keys: dict[str, frozenset[str]]) -> Self:
        """Create it, with the secrets separated from the definition.

        Args:
            declaration: the definition, including its version.
            secret_keys: for each action type (`Source/ThirdParty/GitHub/1`) its secret configuration keys.
        """
        wire = declaration.to_wire()
        secrets: dict[str, str] = {}
        for stage_index, stage in enumerate(declaration.stages):
            for action_index, action in enumerate(stage.actions):
                configuration = wire["stages"][stage_index]["actions"][action_index]["configuration"]
                for key in secret_keys.get(str(action.action_type_id), frozenset()) & configuration.keys():
                    secrets[f"{stage_index}/{action_index}/{key}"] = configuration[key]
                    configuration[key] = MASK
        return cls(
            pipeline_name=declaration.name,
            version=declaration.version,
            declaration=wire,
            secrets=Secret[dict[str, Any]](secrets),
        )

    def masked(self) -> PipelineDeclaration:
        """The definition with masked secrets, safe to display."""
        return PipelineDeclaration.model_validate(self.declaration)

    def whole(self) -> PipelineDeclaration:
        """The definition with its secrets, for the process that runs it."""
        wire = self.masked().to_wire()
        for path, value in self.secrets.get_secret_value().items():
            stage, action, key = path.split("/", 2)
            wire["stages"][int(stage)]["actions"][int(action)]["configuration"][key] = value
        return PipelineDeclaration.model_validate(wire)


def with_kept_secrets(declaration: PipelineDeclaration, stored: StoredDefinition) -> PipelineDeclaration:
    """The declaration with the stored secret wherever it has `****`, by the names of the stage and the action."""
    known = _secrets_by_name(stored)
    wire = declaration.to_wire()
    for stage in wire["stages"]:
        for action in stage["actions"]:
            configuration = action["configuration"]
            for key in [key for key, value in configuration.items() if value == MASK]:
                configuration[key] = known.get((stage["name"], action["name"], key), MASK)
    return PipelineDeclaration.model_validate(wire)


def _secrets_by_name(stored: StoredDefinition) -> dict[tuple[str, str, str], str]:
    """The secrets of a definition by stage, action and configuration key."""
    stages = stored.declaration["stages"]
    found: dict[tuple[str, str, str], str] = {}
    for path, value in stored.secrets.get_secret_value().items():
        stage, action, key = path.split("/", 2)
        declared = stages[int(stage)]
        found[declared["name"], declared["actions"][int(action)]["name"], key] = value
    return found


def document_name(pipeline_name: str, version: int) -> str:
    """The name of the block that holds this version."""
    return f"{slug(pipeline_name)}-v{version}"
