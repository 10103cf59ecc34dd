"""Facts: what happened in one pipeline execution, each written once and never changed.

A fact's `key` is unique within its execution, and Prefect creates each key only once. So an event that may happen only
once (a decision, an end, the start of an attempt) needs no lock: the second writer gets an error.
"""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import Field, TypeAdapter

from prefect_codepipeline.model.approver import Approver
from prefect_codepipeline.model.definition.declaration import RetryMode
from prefect_codepipeline.model.names import slug
from prefect_codepipeline.model.record.artifacts import Inherited, SourceRevision, StoredArtifact
from prefect_codepipeline.model.record.condition_facts import (
    ConditionEnded,
    OverrideRequested,
    RuleAnswered,
    RuleAsked,
    RuleWaits,
)
from prefect_codepipeline.model.record.fact import Fact
from prefect_codepipeline.model.record.job_facts import (
    JobCreated,
    JobEnded,
    JobHandedOut,
    JobProgressed,
    JobTaken,
)
from prefect_codepipeline.model.record.pool_run_facts import (
    PoolRunAsked,
    PoolRunEnded,
    PoolRunLost,
    PoolRunTaken,
    PoolRunUnserved,
)
from prefect_codepipeline.model.record.waiting_facts import ActionKept, ActionWaits
from prefect_codepipeline.model.records import ErrorDetails

PipelineExecutionStatus = Literal[
    "Cancelled", "InProgress", "Stopped", "Stopping", "Succeeded", "Superseded", "Failed"
]
StageExecutionStatus = Literal[
    "Cancelled", "InProgress", "Failed", "Stopped", "Stopping", "Succeeded", "Skipped"
]
ActionExecutionStatus = Literal["InProgress", "Abandoned", "Succeeded", "Failed"]
ExecutionType = Literal["STANDARD", "ROLLBACK"]
RetryTrigger = Literal["AutomatedStageRetry", "ManualStageRetry"]
StopKind = Literal["stop", "abandon", "cancel"]
TriggerType = Literal[
    "CreatePipeline",
    "StartPipelineExecution",
    "PollForSourceChanges",
    "Webhook",
    "CloudWatchEvent",
    "PutActionRevision",
    "WebhookV2",
    "ManualRollback",
    "AutomatedRollback",
]


class ExecutionPinned(Fact):
    """The first fact: which version of which pipeline this execution runs, with which variables, and why."""

    kind: Literal["execution-pinned"] = "execution-pinned"
    pipeline_name: str
    pipeline_version: int
    definition_id: str
    settings_id: str | None = None
    variables: dict[str, str]
    source_revisions: dict[str, str]
    trigger_type: TriggerType
    trigger_detail: str = ""
    execution_type: ExecutionType = "STANDARD"
    # For a rollback: the target execution, and the only stage that the rollback runs.
    rollback_target: str | None = None
    rollback_stage: str | None = None
    inherited: Inherited = Inherited()

    @cached_property
    def key(self) -> str:
        return "execution"


class ProcessStarted(Fact):
    """A process took over the execution; all earlier processes exit. `run_count` is Prefect's; a retry increases it."""

    kind: Literal["process-started"] = "process-started"
    process: int
    run_count: int
    host: str
    pid: int

    @cached_property
    def key(self) -> str:
        return f"process-{self.process}"


class ProcessEnded(Fact):
    """The process exited normally (end or suspension), so its locks may be taken over immediately."""

    kind: Literal["process-ended"] = "process-ended"
    process: int

    @cached_property
    def key(self) -> str:
        return f"process-{self.process}-ended"


class ProcessLost(Fact):
    """Reconcile found that the process is dead, and resumed the execution without a request from a user."""

    kind: Literal["process-lost"] = "process-lost"
    process: int

    @cached_property
    def key(self) -> str:
        return f"process-{self.process}-lost"


class ProcessReplaced(Fact):
    """The process must stop, because another one takes the execution over.

    Its key begins as those of stop requests do, so that a running process learns about both with one request.
    """

    kind: Literal["process-replaced"] = "process-replaced"
    process: int

    @cached_property
    def key(self) -> str:
        return f"stop-process-{self.process}"


class StageEntered(Fact):
    kind: Literal["stage-entered"] = "stage-entered"
    stage: str
    attempt: int

    @cached_property
    def key(self) -> str:
        return f"stage-{slug(self.stage)}-{self.attempt}-entered"


class StageFinished(Fact):
    kind: Literal["stage-finished"] = "stage-finished"
    stage: str
    attempt: int
    status: StageExecutionStatus
    summary: str = ""

    @cached_property
    def key(self) -> str:
        return f"stage-{slug(self.stage)}-{self.attempt}-finished"


class ActionStarted(Fact):
    """`attempt` is the attempt of the stage in which this action execution was started."""

    kind: Literal["action-started"] = "action-started"
    stage: str
    action: str
    attempt: int
    action_execution_id: str
    resolved_configuration: dict[str, str] = Field(default_factory=dict)
    input_artifacts: list[str] = Field(default_factory=list)
    task_run_id: str | None = None

    @cached_property
    def key(self) -> str:
        return f"action-{slug(self.stage, self.action)}-{self.attempt}-started"

    def finished(self, at: datetime, status: ActionExecutionStatus, **more: Any) -> ActionFinished:
        """The end of this action execution; `more` are further fields of `ActionFinished`."""
        return ActionFinished(
            at=at,
            stage=self.stage,
            action=self.action,
            attempt=self.attempt,
            action_execution_id=self.action_execution_id,
            status=status,
            **more,
        )


class ActionProgressed(Fact):
    """The progress that a running action reports; the fact with the highest `number` is the current one."""

    kind: Literal["action-progressed"] = "action-progressed"
    stage: str
    action: str
    attempt: int
    action_execution_id: str
    number: int
    summary: str = ""
    percent_complete: int | None = None
    external_execution_id: str | None = None
    external_execution_url: str | None = None

    @cached_property
    def key(self) -> str:
        return f"action-{slug(self.stage, self.action)}-{self.attempt}-progress-{self.number}"


class ActionFinished(Fact):
    kind: Literal["action-finished"] = "action-finished"
    stage: str
    action: str
    attempt: int
    action_execution_id: str
    status: ActionExecutionStatus
    summary: str = ""
    error_details: ErrorDetails | None = None
    external_execution_id: str | None = None
    external_execution_url: str | None = None
    last_updated_by: str | None = None
    output_variables: dict[str, str] = Field(default_factory=dict)
    output_artifacts: list[StoredArtifact] = Field(default_factory=list)
    source_revision: SourceRevision | None = None

    @cached_property
    def key(self) -> str:
        return f"action-{slug(self.stage, self.action)}-{self.attempt}-finished"


class ApprovalRequested(Fact):
    kind: Literal["approval-requested"] = "approval-requested"
    stage: str
    action: str
    attempt: int
    token: str
    expires_at: datetime
    custom_data: str | None = None
    external_entity_link: str | None = None

    @cached_property
    def key(self) -> str:
        return f"approval-{slug(self.stage, self.action)}-{self.attempt}-requested"


class ApprovalDecided(Fact):
    """The only answer to a token: from a person, or `Expired` if there was no answer in time."""

    kind: Literal["approval-decided"] = "approval-decided"
    token: str
    status: Literal["Approved", "Rejected", "Expired"]
    by: str
    summary: str = ""

    @cached_property
    def key(self) -> str:
        return f"approval-{self.token}-decision"


class ApprovalVoted(Fact):
    """One of several approvals that the policy requires; at most one for each person."""

    kind: Literal["approval-voted"] = "approval-voted"
    token: str
    approver: Approver

    @cached_property
    def key(self) -> str:
        return f"approval-{self.token}-vote-{slug(self.approver.identity)}"


class ApprovalRefused(Fact):
    """An answer to Prefect's form that the policy does not accept; `answer` is the key of that answer."""

    kind: Literal["approval-refused"] = "approval-refused"
    token: str
    by: str
    reason: str
    answer: str

    @cached_property
    def key(self) -> str:
        return f"approval-{self.token}-refused-{slug(self.answer)}"


class RetryRequested(Fact):
    """The execution continues after it had ended, with a new attempt of `stage`; `epoch` counts these retries."""

    kind: Literal["retry-requested"] = "retry-requested"
    epoch: int
    stage: str
    retry_mode: RetryMode
    by: str
    trigger: RetryTrigger = "ManualStageRetry"

    @cached_property
    def key(self) -> str:
        return f"retry-{self.epoch}"


class StopRequested(Fact):
    """No further action may start; at most one request for each kind and epoch.

    `stop` waits for the actions in progress, `abandon` ends them. An update of the pipeline requests `cancel`: it also
    waits, and the execution becomes Cancelled.
    """

    kind: Literal["stop-requested"] = "stop-requested"
    epoch: int
    how: StopKind
    reason: str
    by: str

    @cached_property
    def key(self) -> str:
        return f"stop-{self.epoch}-{self.how}"

    @property
    def ends_as(self) -> Literal["Cancelled", "Stopped"]:
        """The final status of the execution and its stage after this request."""
        return "Cancelled" if self.how == "cancel" else "Stopped"

    @property
    def summary(self) -> str:
        """The user and the reason."""
        return f"{self.by}: {self.reason}"


class ExecutionFinished(Fact):
    kind: Literal["execution-finished"] = "execution-finished"
    epoch: int
    status: PipelineExecutionStatus
    summary: str

    @cached_property
    def key(self) -> str:
        return f"final-{self.epoch}"


class NotificationSent(Fact):
    """The position of the message about this execution, so that the next process edits the same message."""

    kind: Literal["notification-sent"] = "notification-sent"
    subject: str
    channel: str
    message_id: str

    @cached_property
    def key(self) -> str:
        return f"notification-{slug(self.channel, self.subject)}"


FactOfStage: TypeAlias = (
    StageEntered | StageFinished | ActionStarted | ActionProgressed | ActionKept | ActionWaits
    | ActionFinished | JobCreated | JobHandedOut | JobTaken | JobProgressed | JobEnded | PoolRunAsked
    | PoolRunUnserved | PoolRunTaken | PoolRunLost | PoolRunEnded | ApprovalRequested | RuleAsked
    | RuleWaits | RuleAnswered | ConditionEnded | OverrideRequested
)  # fmt: skip
AnyFact = Annotated[
    ExecutionPinned
    | ProcessStarted
    | ProcessEnded
    | ProcessLost
    | ProcessReplaced
    | ApprovalDecided
    | ApprovalVoted
    | ApprovalRefused
    | RetryRequested
    | StopRequested
    | ExecutionFinished
    | NotificationSent
    | FactOfStage,
    Field(discriminator="kind"),
]
KINDS: frozenset[str] = frozenset(
    each.model_fields["kind"].default for each in get_args(get_args(AnyFact)[0])
)
_any_fact: TypeAdapter[AnyFact] = TypeAdapter(AnyFact)


def parse_fact(value: Any) -> AnyFact:
    """A fact from its JSON value. Raises `pydantic.ValidationError`."""
    return _any_fact.validate_python(value)
