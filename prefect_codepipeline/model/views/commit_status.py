"""What a git host is told about a commit while a pipeline runs it, and how each host wants to be told.

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

from prefect_codepipeline.model.record.facts import PipelineExecutionStatus
from prefect_codepipeline.model.record.state import ExecutionState, StageState
from prefect_codepipeline.model.web_links import web_link

HostKind = Literal["github", "gitlab", "bitbucket", "gitea"]
# GitHub's words. `error` is neither: nobody knows whether the commit is good.
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
    """One status: `context` tells the pipelines of a commit apart, `target_url` leads to the run."""

    context: str
    state: CommitState
    description: str
    target_url: str | None = None


def status_of(
    state: ExecutionState,
    run_url: str | None,
) -> CommitStatus:
    """What the commits of an execution are told.

    Args:
        state: of the execution.
        run_url: its page in Prefect's UI.
    """
    return CommitStatus(
        context=f"codepipeline/{state.pinned.pipeline_name}",
        state=_STATES[state.status],
        description=_short(_description(state)),
        target_url=web_link(run_url),
    )


def shown_commits(state: ExecutionState) -> dict[str, str]:
    """The commit that each source action read, by the action's name.

    None of a rollback: it runs what another execution has read, and that one has said what became of it.
    """
    if state.pinned.rollback_target:
        return {}
    return {
        name: revision.revision_id
        for name, revision in state.source_revisions.items()
        if _COMMIT.fullmatch(revision.revision_id)
    }


def path_of(kind: HostKind, repository: str, commit: str) -> str | None:
    """Where below its API's address a host takes a commit's status; None when the name is none of that host's.

    Args:
        kind: of the host.
        repository: `owner/name`, on GitLab with groups of groups.
        commit: its id.
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
    """The status as that host reads it. Two equal bodies tell nothing new."""
    state = _WORDS[kind][status.state]
    link = {"target_url": status.target_url} if status.target_url else {}
    if kind == "gitlab":
        # GitLab refuses to go from `running` to `running`, so what stands there stands until the end.
        is_open = status.state == "pending"
        description = "In progress" if is_open else status.description
        return {"state": state, "name": status.context, "description": description, **link}
    if kind == "bitbucket":
        # A status without a link is refused.
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
        return _of_the_end(state)
    if state.stop:
        return f"Stopping, asked for by {state.stop.summary}"
    if approvals := state.open_approvals:
        stage, action = approvals[0]
        more = f" and {len(approvals) - 1} more" if len(approvals) > 1 else ""
        return f"Waiting for approval {stage.name}/{action.name}{more}"
    return _of_the_stages(state)


def _of_the_end(state: ExecutionState) -> str:
    if state.status == "Failed" and state.failure:
        stage, action = state.failure
        reason = action.summary.strip().partition("\n")[0]
        return f"Failed in {stage.name}/{action.name}" + (f": {reason}" if reason else "")
    if state.status in ("Stopped", "Cancelled") and state.stop:
        return f"{state.status} by {state.summary}"
    return state.summary or state.status


def _of_the_stages(state: ExecutionState) -> str:
    entered = [stage for stage in state.stages if stage.entered]
    if not entered:
        return "Started"
    stage = entered[-1]
    if any(condition.status == "InProgress" for condition in stage.conditions):
        return f"Stage {stage.name} waits for its conditions"
    if stage.finished:
        following = state.stages[state.stages.index(stage) + 1 :]
        return f"Waiting to enter stage {following[0].name}" if following else f"Stage {stage.name} is done"
    return f"Stage {stage.name}: {_done(stage)} of {len(stage.actions)} actions done"


def _done(stage: StageState) -> int:
    return sum(action.status == "Succeeded" for action in stage.actions)


def _short(text: str) -> str:
    clean = _CONTROL.sub(" ", text).strip()
    clean = clean[:1].upper() + clean[1:]
    return clean if len(clean) <= DESCRIPTION_LENGTH else clean[: DESCRIPTION_LENGTH - 1] + "…"
