"""One version of a pipeline definition, stored permanently: an execution keeps the version that it started with."""

from typing import Any, ClassVar

from prefect.blocks.core import Block
from prefect.types import SecretDict
from pydantic import Field, HttpUrl

from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.names import slug

# AWS returns this text instead of a secret.
MASK = "****"


class PipelineDefinition(Block):
    """A version of a pipeline's definition. Created by `codepipeline deploy`; never changed afterwards.

    The block's name is unique: if two users create the same version at once, one of them gets an error.
    """

    _block_type_name: ClassVar[str] = "Pipeline Definition"
    _block_type_slug: ClassVar[str] = "pipeline-definition"
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl(
        "https://docs.aws.amazon.com/codepipeline/latest/userguide/reference-pipeline-structure.html"
    )
    _description: ClassVar[str] = "One version of a CodePipeline pipeline, created by `codepipeline deploy`."

    pipeline_name: str = Field(description="The pipeline's name in CodePipeline.")
    version: int = Field(description="The version number; starts at 1, incremented by each update.")
    declaration: dict[str, Any] = Field(description="The definition as AWS returns it, with secrets masked.")
    secrets: SecretDict = Field(
        default_factory=lambda: SecretDict({}),
        description="The masked values, keyed by 'stage index/action index/configuration key'.",
    )

    @classmethod
    def of(
        cls, declaration: PipelineDeclaration, secret_keys: dict[str, frozenset[str]]
    ) -> "PipelineDefinition":
        """Create the block, with the secrets separated from the definition.

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
            secrets=SecretDict(secrets),
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


def document_name(pipeline_name: str, version: int) -> str:
    """The name of the block that holds this version."""
    return f"{slug(pipeline_name)}-v{version}"
