"""CodePipeline's PipelineDeclaration, V1 and V2, exactly as in its API.

https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_PipelineDeclaration.html
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

ExecutionMode = Literal["QUEUED", "SUPERSEDED", "PARALLEL"]
PipelineType = Literal["V1", "V2"]
ActionCategory = Literal["Source", "Build", "Deploy", "Test", "Invoke", "Approval", "Compute"]
ActionOwner = Literal["AWS", "ThirdParty", "Custom"]
ConditionResult = Literal["ROLLBACK", "FAIL", "RETRY", "SKIP"]
RetryMode = Literal["FAILED_ACTIONS", "ALL_ACTIONS"]
PullRequestEvent = Literal["OPEN", "UPDATED", "CLOSED"]


def _text(minimum: int, maximum: int, pattern: str | None = None) -> Any:
    # `\Z`, because Python's `$` also matches before a trailing newline.
    anchored = rf"\A(?:{pattern})\Z" if pattern else None
    return StringConstraints(min_length=minimum, max_length=maximum, pattern=anchored)


Name = Annotated[str, _text(1, 100, r"[A-Za-z0-9.@\-_]+")]
ArtifactName = Annotated[str, _text(1, 100, r"[a-zA-Z0-9_\-]+")]
Namespace = Annotated[str, _text(1, 100, r"[A-Za-z0-9@\-_]+")]
Provider = Annotated[str, _text(1, 35, r"[0-9A-Za-z_\-]+")]
Version = Annotated[str, _text(1, 9, r"[0-9A-Za-z_\-]+")]
RoleArn = Annotated[str, _text(1, 1024, r"arn:aws(-[\w]+)*:iam::[0-9]{12}:role/.*")]
Region = Annotated[str, _text(4, 30)]
Command = Annotated[str, _text(1, 1000)]
ConfigurationKey = Annotated[str, _text(1, 50)]
GitPatterns = Annotated[list[Annotated[str, _text(1, 255)]], Field(min_length=1, max_length=8)]


class Declared(BaseModel):
    """Base of all structures: frozen, AWS's JSON names as aliases, no unknown keys, no conversion of values."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        regex_engine="python-re",
    )

    def to_wire(self) -> dict[str, Any]:
        """The structure as JSON of AWS's API: AWS's names, without absent fields."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class EncryptionKey(Declared):
    id: Annotated[str, _text(1, 400)]
    type: Literal["KMS"]


class ArtifactStoreDeclaration(Declared):
    type: Literal["S3"]
    location: Annotated[str, _text(3, 63, r"[a-zA-Z0-9\-.]+")]
    encryption_key: EncryptionKey | None = None


class PipelineVariableDeclaration(Declared):
    name: Annotated[str, _text(1, 128, r"[A-Za-z0-9@\-_]+")]
    default_value: Annotated[str, _text(1, 1000)] | None = None
    description: Annotated[str, _text(0, 200)] | None = None


class GitFilter(Declared):
    """Patterns of branches, tags or file paths; excludes take precedence over includes."""

    includes: GitPatterns | None = None
    excludes: GitPatterns | None = None


class GitPushFilter(Declared):
    tags: GitFilter | None = None
    branches: GitFilter | None = None
    file_paths: GitFilter | None = None


class GitPullRequestFilter(Declared):
    events: Annotated[list[PullRequestEvent], Field(min_length=1, max_length=3)] | None = None
    branches: GitFilter | None = None
    file_paths: GitFilter | None = None


class GitConfiguration(Declared):
    source_action_name: Name
    push: Annotated[list[GitPushFilter], Field(min_length=1, max_length=3)] | None = None
    pull_request: Annotated[list[GitPullRequestFilter], Field(min_length=1, max_length=3)] | None = None


class PipelineTriggerDeclaration(Declared):
    provider_type: Literal["CodeStarSourceConnection"]
    git_configuration: GitConfiguration


class RuleTypeId(Declared):
    category: Literal["Rule"]
    # AWS has only its own rule types; `Custom` is for the rule types of this and of other packages.
    owner: Literal["AWS", "Custom"] | None = None
    provider: Provider
    version: Version | None = None


class InputArtifact(Declared):
    name: ArtifactName


class OutputArtifact(Declared):
    name: ArtifactName
    files: Annotated[list[Annotated[str, _text(1, 128)]], Field(min_length=1, max_length=10)] | None = None


class RuleDeclaration(Declared):
    name: Name
    rule_type_id: RuleTypeId
    configuration: (
        Annotated[dict[ConfigurationKey, Annotated[str, _text(1, 10000)]], Field(max_length=200)] | None
    ) = None
    commands: Annotated[list[Command], Field(min_length=1, max_length=50)] | None = None
    input_artifacts: list[InputArtifact] | None = None
    role_arn: RoleArn | None = None
    region: Region | None = None
    timeout_in_minutes: Annotated[int, Field(ge=5, le=86400)] | None = None


class Condition(Declared):
    result: ConditionResult | None = None
    rules: Annotated[list[RuleDeclaration], Field(min_length=1, max_length=5)] | None = None


class Conditions(Declared):
    """`beforeEntry` and `onSuccess`: exactly one condition."""

    conditions: Annotated[list[Condition], Field(min_length=1, max_length=1)]


class RetryConfiguration(Declared):
    retry_mode: RetryMode | None = None


class FailureConditions(Declared):
    result: ConditionResult | None = None
    retry_configuration: RetryConfiguration | None = None
    conditions: Annotated[list[Condition], Field(min_length=1, max_length=1)] | None = None


class ActionTypeId(Declared):
    category: ActionCategory
    owner: ActionOwner
    provider: Provider
    version: Version

    def __str__(self) -> str:
        return f"{self.category}/{self.owner}/{self.provider}/{self.version}"


class EnvironmentVariable(Declared):
    name: Annotated[str, _text(1, 128, r"[A-Za-z0-9_]+")]
    value: Annotated[str, _text(1, 2000)]
    type: Literal["PLAINTEXT", "SECRETS_MANAGER"] | None = None


class ActionDeclaration(Declared):
    name: Name
    action_type_id: ActionTypeId
    run_order: Annotated[int, Field(ge=1, le=999)] = 1
    configuration: dict[ConfigurationKey, Annotated[str, _text(1, 1000)]] = Field(default_factory=dict)
    commands: Annotated[list[Command], Field(min_length=1, max_length=50)] | None = None
    output_artifacts: list[OutputArtifact] = Field(default_factory=list)
    input_artifacts: list[InputArtifact] = Field(default_factory=list)
    output_variables: (
        Annotated[list[Annotated[str, _text(1, 128)]], Field(min_length=1, max_length=15)] | None
    ) = None
    role_arn: RoleArn | None = None
    region: Region | None = None
    namespace: Namespace | None = None
    timeout_in_minutes: Annotated[int, Field(ge=5, le=86400)] | None = None
    environment_variables: Annotated[list[EnvironmentVariable], Field(min_length=1, max_length=10)] | None = (
        None
    )

    @property
    def is_approval(self) -> bool:
        """Whether people decide it here. A custom action of that category is the work of a job worker."""
        return self.action_type_id.category == "Approval" and self.action_type_id.owner == "AWS"


class BlockerDeclaration(Declared):
    name: Annotated[str, _text(1, 100)]
    type: Literal["Schedule"]


class StageDeclaration(Declared):
    name: Name
    blockers: list[BlockerDeclaration] | None = None
    actions: Annotated[list[ActionDeclaration], Field(min_length=1)]
    on_failure: FailureConditions | None = None
    on_success: Conditions | None = None
    before_entry: Conditions | None = None


class PipelineDeclaration(Declared):
    name: Name
    role_arn: RoleArn
    artifact_store: ArtifactStoreDeclaration | None = None
    artifact_stores: dict[Region, ArtifactStoreDeclaration] | None = None
    stages: list[StageDeclaration]
    version: Annotated[int, Field(ge=1)] = 1
    execution_mode: ExecutionMode = "SUPERSEDED"
    pipeline_type: PipelineType = "V1"
    variables: Annotated[list[PipelineVariableDeclaration], Field(max_length=50)] | None = None
    triggers: Annotated[list[PipelineTriggerDeclaration], Field(max_length=50)] | None = None

    def stage(self, name: str) -> StageDeclaration:
        """The stage with that name. Raises `KeyError`."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise KeyError(name)
