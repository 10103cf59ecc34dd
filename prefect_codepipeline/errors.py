"""Every exception this package raises on purpose, but `InvalidDefinition`, which lists problems of the model.

Three outcomes are never mixed: the action *failed* (the user's work, `ActionFailed`), the engine
*errored* (ours, any other exception) and the execution was *stopped* (nobody's fault, `ActionAbandoned`).
"""

from __future__ import annotations


class CodePipelineError(Exception):
    """A mistake or a failure that a person can act on; its text says what to do."""


class ActionFailed(CodePipelineError):
    """The work of an action did not succeed.

    Args:
        message: what was attempted, on which named thing, what came back, what to do.
        code: the `errorDetails.code` of the action execution, as AWS spells it: `JobFailed`,
            `ConfigurationError`, `PermissionError`, `RevisionUnavailable`, `Timeout`, `InternalError`.
        external_execution_id: the id the outside system gave to the work, when it has one.
        external_execution_url: where to look at it.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "JobFailed",
        external_execution_id: str | None = None,
        external_execution_url: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.external_execution_id = external_execution_id
        self.external_execution_url = external_execution_url


class ActionAbandoned(CodePipelineError):
    """The action ended early because its execution was stopped or cancelled."""


class UnresolvedVariable(ActionFailed):
    """A `#{namespace.key}` names nothing that exists when the action starts."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="ConfigurationError")


class UnreadableDefinition(CodePipelineError):
    """A file is not JSON or YAML, or holds no pipeline.

    Args:
        message: names the file, the place and what is wrong there.
        line: counted from 1, None when it is the whole file.
        column: counted from 1.
    """

    def __init__(self, message: str, *, line: int | None = None, column: int | None = None) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


class MissingBlock(CodePipelineError):
    """A block that the pipeline leans on does not exist; the text names the command that makes it."""


class WebhookRefused(CodePipelineError):
    """A webhook's request is not from whom it should be; the text says which check failed, and no secret."""


class ApprovalNotAllowed(CodePipelineError):
    """The approval's policy does not let this answer count; the text says why."""


class PrefectUnavailable(CodePipelineError):
    """Prefect's API did not answer, or refused."""


class PipelineServiceError(CodePipelineError):
    """An error that AWS CodePipeline's API knows; subclasses bear AWS's own names."""


class ValidationException(PipelineServiceError): ...


class PipelineNameInUseException(PipelineServiceError): ...


class PipelineNotFoundException(PipelineServiceError): ...


class PipelineVersionNotFoundException(PipelineServiceError): ...


class PipelineExecutionNotFoundException(PipelineServiceError): ...


class StageNotFoundException(PipelineServiceError): ...


class ActionNotFoundException(PipelineServiceError): ...


class ConcurrentModificationException(PipelineServiceError): ...


class ApprovalAlreadyCompletedException(PipelineServiceError): ...


class InvalidApprovalTokenException(PipelineServiceError): ...


class PipelineExecutionNotStoppableException(PipelineServiceError): ...


class DuplicatedStopRequestException(PipelineServiceError): ...


class StageNotRetryableException(PipelineServiceError): ...


class NotLatestPipelineExecutionException(PipelineServiceError): ...


class ConcurrentPipelineExecutionsLimitExceededException(PipelineServiceError): ...


class UnableToRollbackStageException(PipelineServiceError): ...


class PipelineExecutionOutdatedException(PipelineServiceError): ...


class ConditionNotOverridableException(PipelineServiceError): ...


class InvalidWebhookAuthenticationParametersException(PipelineServiceError): ...


class InvalidWebhookFilterPatternException(PipelineServiceError): ...
