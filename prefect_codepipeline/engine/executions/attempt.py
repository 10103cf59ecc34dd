"""One attempt of an action or of a rule: what it is given, its scratch directory, and how an exception ends it."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from prefect_codepipeline.actions.artifacts.storing import fetch_tree
from prefect_codepipeline.actions.type_registry import Provider
from prefect_codepipeline.actions.work import InputTree
from prefect_codepipeline.blocks.artifact_store import ArtifactStore
from prefect_codepipeline.errors import ActionAbandoned, ActionFailed, CodePipelineError
from prefect_codepipeline.model.definition.conditions import RuleOutcome
from prefect_codepipeline.model.record.artifacts import StoredArtifact
from prefect_codepipeline.model.record.facts import ActionFinished
from prefect_codepipeline.model.records import ErrorDetails
from prefect_codepipeline.model.stored.definition import MASK
from prefect_codepipeline.model.validation import problems_of
from prefect_codepipeline.prefect_api.runs import AnyLogger, RunState, ended_state

SUMMARY_LENGTH = 2048
MESSAGE_LENGTH = 5000
_SCRATCH = "codepipeline-action-"


@contextmanager
def attempting(logger: AnyLogger, unexpected: str) -> Iterator[Path]:
    """A scratch directory for the work of an attempt. Every exception of the work becomes one of those below.

    Args:
        logger: the log of the run.
        unexpected: the line to log, with the traceback, if the work raises an error that is a bug.

    Raises:
        ActionAbandoned: the work ended early because its execution was stopped or cancelled.
        ActionFailed: the work failed; with code `InternalError` it raised an unexpected error.
    """
    scratch = _make_scratch()
    try:
        yield scratch
    except (ActionAbandoned, ActionFailed):
        raise
    except CodePipelineError as error:
        raise ActionFailed(str(error), code="ConfigurationError") from error
    # The only broad `except`: any other exception is a bug in the provider or the engine.
    except Exception as error:
        logger.exception("%s", unexpected)
        raise ActionFailed(f"{type(error).__name__}: {error}", code="InternalError") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def worker_died() -> ActionFailed:
    """The failure of work that was interrupted, and that must not be started again."""
    return ActionFailed(
        "the worker died while it ran; what it had done by then is not known", code="InternalError"
    )


def failure(error: ActionFailed) -> dict[str, Any]:
    """The fields of a failed action or rule."""
    return {
        "status": "Failed",
        "error_details": ErrorDetails(code=error.code, message=str(error)[:MESSAGE_LENGTH]),
        "external_execution_id": error.external_execution_id,
        "external_execution_url": error.external_execution_url,
    }


def reason_of(ended: ActionFinished | RuleOutcome) -> str:
    """Why an action or a rule ended as it did."""
    return ended.error_details.message if ended.error_details else ended.summary


def log_end(logger: AnyLogger, finished: ActionFinished) -> None:
    """Log how an action ended, and why."""
    reason = reason_of(finished)
    why = f": {reason}" if reason else ""
    level = logging.INFO if finished.status == "Succeeded" else logging.ERROR
    logger.log(level, "Action %r of stage %r %s%s", finished.action, finished.stage, finished.status, why)


def task_state_of(ended: ActionFinished | RuleOutcome) -> RunState:
    """The state of the task run whose action or rule has ended."""
    return ended_state(ended.status, reason_of(ended))


def configuration_of(provider: Provider, what: str, configuration: Mapping[str, str] | None) -> BaseModel:
    """The configuration, parsed by the provider's model. Raises `ActionFailed`, naming `what` and every problem."""
    try:
        return provider.configuration.model_validate(configuration or {})
    except ValidationError as error:
        problems = "; ".join(str(problem) for problem in problems_of(error))
        raise ActionFailed(f"configuration of {what}: {problems}", code="ConfigurationError") from None


def displayed_configuration(
    provider: Provider | None, configuration: Mapping[str, str] | None
) -> dict[str, str]:
    """The configuration with its secrets masked. Without a provider any value may be a secret."""
    values = configuration or {}
    secrets = provider.secrets if provider else frozenset(values)
    return {key: MASK if key in secrets else value for key, value in values.items()}


def find_input(
    artifacts: Mapping[str, StoredArtifact],
    store: Callable[[], ArtifactStore],
    name: str,
    directory: Path,
    *,
    missing: str,
    why_no_clone: str | None,
) -> Callable[[], InputTree]:
    """What unpacks an input artifact into a directory.

    Args:
        artifacts: those that actions produced so far, by name.
        store: returns the store in which they are; called when the artifact is fetched.
        name: of the artifact.
        directory: is created if it does not exist, else empty.
        missing: the reason to give if the artifact was never produced.
        why_no_clone: the reason why a reference for a full clone cannot be used; None if it can.

    Raises:
        ActionFailed: with code `ConfigurationError`, the artifact does not exist or cannot be used. What is returned
            raises it if the artifact cannot be fetched.
    """
    stored = artifacts.get(name)
    if stored is None:
        raise ActionFailed(f"input artifact {name!r} does not exist: {missing}", code="ConfigurationError")
    if stored.format == "CODEBUILD_CLONE_REF" and why_no_clone:
        raise ActionFailed(
            f"input artifact {name!r} is a reference for a full clone (OutputArtifactFormat CODEBUILD_CLONE_REF), "
            f"{why_no_clone}; set CODE_ZIP on the source action",
            code="ConfigurationError",
        )

    def fetch() -> InputTree:
        directory.mkdir(parents=True, exist_ok=True)
        fetch_tree(store(), stored, directory)
        return InputTree(name, directory, stored.format, stored.revision_id, stored)

    return fetch


def _make_scratch() -> Path:
    """Create an empty directory for this process, and remove the directories of killed processes."""
    for old in Path(tempfile.gettempdir()).glob(f"{_SCRATCH}*"):
        pid = old.name.removeprefix(_SCRATCH).partition("-")[0]
        if pid.isdigit() and not _is_alive(int(pid)):
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{_SCRATCH}{os.getpid()}-"))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
