"""The commit status that a pipeline sends to a git host, and the request format of each host.

https://docs.github.com/en/rest/commits/statuses
https://docs.gitlab.com/api/commits/#set-commit-pipeline-status
https://developer.atlassian.com/cloud/bitbucket/rest/api-group-commit-statuses/
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from prefect_codepipeline.model.printable import printable
from prefect_codepipeline.model.record.facts import PipelineExecutionStatus
from prefect_codepipeline.model.record.state import ExecutionState, StageState
from prefect_codepipeline.model.web_links import web_link

HostKind = Literal["github", "gitlab", "bitbucket", "gitea"]
# GitHub's words. `error`: the execution ended without a result, so the commit is neither good nor bad.
CommitState = Literal["pending", "success", "failure", "error"]

DESCRIPTION_LENGTH = 140  # GitHub's limit, the shortest
_KEY_LENGTH = 40  # Bitbucket's
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_STATES: dict[PipelineExecutionStatus, CommitState] = {
    "InProgress": "pending",
    "Stopping": "pending",
    "Succeeded": "success",
    "Failed": "failure",
    "Stopped": "error",
    "Cancelled": "error",
    "Superseded": "error",
}
_WORDS: dict[HostKind, dict[CommitState, str]] = {
    "github": {"pending": "pending", "success": "success", "failure": "failure", "error": "error"},
    "gitea": {"pending": "pending", "success": "success", "failure": "failure", "error": "error"},
    "gitlab": {"pending": "running", "success": "success", "failure": "failed", "error": "canceled"},
    "bitbucket": {"pending": "INPROGRESS", "success": "SUCCESSFUL", "failure": "FAILED", "error": "STOPPED"},
}


@dataclass(frozen=True)
class CommitStatus:
    """One status: `context` distinguishes the pipelines of a commit, `target_url` is the page of the run."""

    context: str
    state: CommitState
    description: str
    target_url: str | None = None


def status_of(
    state: ExecutionState,
    run_url: str | None,
) -> CommitStatus:
    """The status to send for the commits of an execution.

    Args:
        state: the state of the execution.
        run_url: the page of the run in Prefect's UI.
    """
    return CommitStatus(
        context=f"codepipeline/{state.pinned.pipeline_name}",
        state=_STATES[state.status],
        description=_shorten(_description(state)),
        target_url=web_link(run_url),
    )


def commits_to_report(state: ExecutionState) -> dict[str, str]:
    """The commit that each source action read, by the action's name.

    Empty for a rollback: its target execution read the commits and has already reported their status.
    """
    if state.pinned.rollback_target:
        return {}
    return {
        name: revision.revision_id
        for name, revision in state.source_revisions.items()
        if _COMMIT.fullmatch(revision.revision_id)
    }


def path_of(kind: HostKind, repository: str, commit: str) -> str | None:
    """The API path to which a host's commit statuses are posted; None if the host cannot have such a repository name.

    Args:
        kind: the kind of the host.
        repository: `owner/name`; on GitLab with nested groups.
        commit: the id of the commit.
    """
    parts = repository.split("/")
    if kind == "gitlab":
        return f"/projects/{quote(repository, safe='')}/statuses/{commit}" if len(parts) >= 2 else None
    if len(parts) != 2:
        return None
    name = "/".join(quote(part, safe="") for part in parts)
    if kind == "bitbucket":
        return f"/repositories/{name}/commit/{commit}/statuses/build"
    return f"/repos/{name}/statuses/{commit}"


def body_of(kind: HostKind, status: CommitStatus) -> dict[str, Any]:
    """The request body for that host. If two bodies are equal, the second one need not be sent."""
    state = _WORDS[kind][status.state]
    link = {"target_url": status.target_url} if status.target_url else {}
    if kind == "gitlab":
        # GitLab refuses a change from `running` to `running`, so the first description stays until the end.
        is_open = status.state == "pending"
        description = "In progress" if is_open else status.description
        return {"state": state, "name": status.context, "description": description, **link}
    if kind == "bitbucket":
        # Bitbucket refuses a status without a link.
        url = {"url": status.target_url or "https://bitbucket.org"}
        key = {"key": _key(status.context), "name": status.context}
        return {**key, "state": state, "description": status.description, **url}
    return {"state": state, "context": status.context, "description": status.description, **link}


def _key(context: str) -> str:
    if len(context) <= _KEY_LENGTH:
        return context
    digest = hashlib.sha256(context.encode()).hexdigest()[:8]
    return f"{context[: _KEY_LENGTH - 9]}-{digest}"


def _description(state: ExecutionState) -> str:
    if state.final:
        return _describe_end(state)
    if state.stop:
        return f"Stopping, requested by {state.stop.summary}"
    if approvals := state.open_approvals:
        stage, action = approvals[0]
        more = f" and {len(approvals) - 1} more" if len(approvals) > 1 else ""
        return f"Waiting for approval {stage.name}/{action.name}{more}"
    return _describe_stages(state)


def _describe_end(state: ExecutionState) -> str:
    if state.status == "Failed" and state.failure:
        stage, action = state.failure
        reason = action.summary.strip().partition("\n")[0]
        return f"Failed in {stage.name}/{action.name}" + (f": {reason}" if reason else "")
    if state.status in ("Stopped", "Cancelled") and state.stop:
        return f"{state.status} by {state.summary}"
    return state.summary or state.status


def _describe_stages(state: ExecutionState) -> str:
    entered = [stage for stage in state.stages if stage.entered]
    if not entered:
        return "Started"
    stage = entered[-1]
    if any(condition.status == "InProgress" for condition in stage.conditions):
        return f"Stage {stage.name} is waiting for its conditions"
    if stage.finished:
        following = state.stages[state.stages.index(stage) + 1 :]
        return f"Waiting to enter stage {following[0].name}" if following else f"Stage {stage.name} is done"
    return f"Stage {stage.name}: {_count_done(stage)} of {len(stage.actions)} actions done"


def _count_done(stage: StageState) -> int:
    return sum(action.status == "Succeeded" for action in stage.actions)


def _shorten(text: str) -> str:
    clean = printable(_CONTROL.sub(" ", text)).strip()
    clean = clean[:1].upper() + clean[1:]
    return clean if len(clean) <= DESCRIPTION_LENGTH else clean[: DESCRIPTION_LENGTH - 1] + "…"
