"""Webhook payloads of gitlab.com and self-managed GitLab.

https://docs.gitlab.com/user/project/integrations/webhook_events/
"""

from __future__ import annotations

from collections.abc import Mapping

from prefect_codepipeline.model.definition.declaration import PullRequestEvent
from prefect_codepipeline.model.payloads.reading import (
    CommitId,
    Delivery,
    Name,
    Part,
    Paths,
    Text,
    Url,
    all_files,
    branch_or_tag,
    is_zero,
    parse,
    server_of,
)
from prefect_codepipeline.model.triggers.git_event import GitEvent, PullRequest

_KINDS = {"Push Hook": "push", "Tag Push Hook": "push", "Merge Request Hook": "merge_request"}
_EVENTS: dict[str, PullRequestEvent] = {
    "open": "OPEN",
    "reopen": "OPEN",
    "update": "UPDATED",
    "close": "CLOSED",
    "merge": "CLOSED",
}


class Project(Part):
    path_with_namespace: Name
    web_url: Url = None


class Commit(Part):
    id: CommitId
    message: Text = ""
    url: Url = None
    added: Paths = ()
    modified: Paths = ()
    removed: Paths = ()


class Push(Part):
    ref: Name
    before: CommitId
    after: CommitId
    checkout_sha: CommitId | None = None
    user_name: Text = ""
    project: Project
    commits: tuple[Commit, ...] | None = None
    total_commits_count: int | None = None


class Attributes(Part):
    iid: int
    action: Name | None = None  # absent in GitLab's test requests
    oldrev: CommitId | None = None
    source_branch: Name
    target_branch: Name
    title: Text = ""
    url: Url = None
    last_commit: Commit
    source: Project | None = None


class User(Part):
    name: Text = ""


class MergeRequest(Part):
    user: User | None = None
    project: Project
    object_attributes: Attributes


def read(headers: Mapping[str, str], body: bytes) -> Delivery:
    """Parse a request of GitLab; header names are in lower case. Raises `PayloadError`."""
    # `idempotency-key` is the same for all attempts of one delivery; GitLab sends it since 17.4.
    delivery = headers.get("idempotency-key") or headers.get("x-gitlab-event-uuid", "")
    kind = headers.get("x-gitlab-event", "")
    if _KINDS.get(kind) == "push":
        return _push(delivery, parse(Push, body))
    if _KINDS.get(kind) == "merge_request":
        return _merge_request(delivery, parse(MergeRequest, body))
    return Delivery(
        ignored=f"an event of kind {kind[:100]!r}: only pushes and merge requests start pipelines"
    )


def _push(delivery: str, push: Push) -> Delivery:
    branch, tag = branch_or_tag(push.ref)
    if is_zero(push.after):
        return Delivery(ignored=f"{push.ref!r} was deleted")
    if branch is None and tag is None:
        return Delivery(ignored=f"{push.ref!r} is neither a branch nor a tag")
    base = None if is_zero(push.before) or tag is not None else push.before
    # For an annotated tag, `after` is the id of the tag object, not of the commit.
    commit = push.checkout_sha or push.after
    head = next((each for each in push.commits or () if each.id == commit), None)
    event = GitEvent(
        host="gitlab",
        server=server_of(push.project.web_url),
        repository=push.project.path_with_namespace,
        commit=commit,
        branch=branch,
        tag=tag,
        base=base,
        changed_files=_files(push) if base else None,
        author=push.user_name,
        message=head.message if head else "",
        url=head.url if head else None,
        delivery=delivery,
    )
    return Delivery((event,))


def _files(push: Push) -> tuple[str, ...] | None:
    commits = push.commits or ()
    # GitLab lists the newest 20 commits; the total shows whether the list is complete.
    if push.total_commits_count is None or push.total_commits_count != len(commits):
        return None
    return all_files((*commit.added, *commit.modified, *commit.removed) for commit in commits)


def _merge_request(delivery: str, payload: MergeRequest) -> Delivery:
    request = payload.object_attributes
    event = _EVENTS.get(request.action or "")
    if event is None:
        return Delivery(
            ignored=f"merge request !{request.iid}: {(request.action or '')[:100]!r} starts no pipeline"
        )
    if event == "UPDATED" and request.oldrev is None:
        return Delivery(ignored=f"merge request !{request.iid}: an update without new commits")
    pull_request = PullRequest(
        event=event,
        number=request.iid,
        source_branch=request.source_branch,
        target_branch=request.target_branch,
        title=request.title,
        merged=request.action == "merge",
        source_repository=request.source.path_with_namespace if request.source else None,
    )
    found = GitEvent(
        host="gitlab",
        server=server_of(payload.project.web_url),
        repository=payload.project.path_with_namespace,
        commit=request.last_commit.id,
        pull_request=pull_request,
        author=payload.user.name if payload.user else "",
        message=request.title,
        url=request.url,
        delivery=delivery,
    )
    return Delivery((found,))
