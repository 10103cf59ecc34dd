"""Every exception this package raises on purpose, but `InvalidDefinition`, which lists problems of the model.

Three outcomes are kept apart: the action *failed* (a problem in the user's work, `ActionFailed`), the engine
*errored* (a bug in this package, any other exception) and the execution was *stopped* (`ActionAbandoned`).
"""

from __future__ import annotations


class CodePipelineError(Exception):
    """An error that the user can act on; its message says what to do."""


class ActionFailed(CodePipelineError):
    """The work of an action did not succeed.

    Args:
        message: what was attempted, on which resource, the result, and what to do.
        code: the `errorDetails.code` of the action execution, as AWS spells it: `JobFailed`,
            `ConfigurationError`, `PermissionError`, `RevisionUnavailable`, `Timeout`, `SystemUnavailable`,
            `InternalError`.
        external_execution_id: the id of the work in the external system, if it has one.
        external_execution_url: the page of the work in the external system.
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


def wrong_configuration(message: str) -> ActionFailed:
    """The failure of an action whose configuration, input or settings the user has to correct."""
    return ActionFailed(message, code="ConfigurationError")


class ActionAbandoned(CodePipelineError):
    """The action ended early because its execution was stopped or cancelled."""


class ActionInterrupted(ActionAbandoned):
    """The process that runs the action must end, and another one continues the execution."""


class UnresolvedVariable(ActionFailed):
    """A `#{namespace.key}` does not exist when the action starts."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="ConfigurationError")


class UnreadableDefinition(CodePipelineError):
    """A file is not JSON or YAML, or contains no pipeline.

    Args:
        message: the file, the position and the problem.
        line: counted from 1; None if the problem concerns the whole file.
        column: counted from 1.
    """

    def __init__(self, message: str, *, line: int | None = None, column: int | None = None) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


class MissingBlock(CodePipelineError):
    """A block that the pipeline depends on does not exist; the message names the command that creates it."""


class WebhookRefused(CodePipelineError):
    """The sender of a webhook request could not be verified; the message names the failed check, but no secret."""


class ApprovalNotAllowed(CodePipelineError):
    """The approval policy does not allow this decision; the message says why."""


class PrefectUnavailable(CodePipelineError):
    """Prefect's API did not answer, or refused the request."""


class PrefectRefused(PrefectUnavailable):
    """Prefect's API refused the request: the same request would be refused again."""


class NotLetIn(PrefectUnavailable):
    """Prefect's API, or a proxy before it, does not let this process in; the message names the setting to correct."""


class AnswerUnconfirmed(PrefectUnavailable):
    """Prefect did not answer while an approver's answer was written: it may be recorded, or not."""


class NewerRecord(CodePipelineError):
    """A newer release wrote this record; the message says which release can read it."""


class PipelineServiceError(CodePipelineError):
    """An error of AWS CodePipeline's API; the subclasses have the names that AWS uses."""


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


class ActionExecutionNotFoundException(PipelineServiceError): ...


class ActionTypeAlreadyExistsException(PipelineServiceError): ...


class ActionTypeNotFoundException(PipelineServiceError): ...


class ConflictException(PipelineServiceError): ...


class InvalidActionDeclarationException(PipelineServiceError): ...


class InvalidArnException(PipelineServiceError): ...


class InvalidBlockerDeclarationException(PipelineServiceError): ...


class InvalidClientTokenException(PipelineServiceError): ...


class InvalidJobException(PipelineServiceError): ...


class InvalidJobStateException(PipelineServiceError): ...


class InvalidNextTokenException(PipelineServiceError): ...


class InvalidNonceException(PipelineServiceError): ...


class InvalidStageDeclarationException(PipelineServiceError): ...


class InvalidStructureException(PipelineServiceError): ...


class InvalidTagsException(PipelineServiceError): ...


class JobNotFoundException(PipelineServiceError): ...


class LimitExceededException(PipelineServiceError): ...


class OutputVariablesSizeExceededException(PipelineServiceError): ...


class RequestFailedException(PipelineServiceError): ...


class ResourceNotFoundException(PipelineServiceError): ...


class TooManyTagsException(PipelineServiceError): ...


class WebhookNotFoundException(PipelineServiceError): ...
