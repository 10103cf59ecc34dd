"""Bitbucket Cloud's webhook payloads. They list no files, and abbreviate the commits of pull requests.

https://support.atlassian.com/bitbucket-cloud/docs/event-payloads/
"""

from __future__ import annotations

from collections.abc import Mapping

from prefect_codepipeline.model.definition.declaration import PullRequestEvent
from prefect_codepipeline.model.payloads.reading import (
    CommitId,
    Delivery,
    Name,
    Part,
    Text,
    Url,
    parse,
    server_of,
)
from prefect_codepipeline.model.triggers.git_event import GitEvent, PullRequest

# Bitbucket sends `pullrequest:rejected` for a declined pull request; AWS does not treat it as CLOSED.
_EVENTS: dict[str, PullRequestEvent] = {
    "pullrequest:created": "OPEN",
    "pullrequest:updated": "UPDATED",
    "pullrequest:fulfilled": "CLOSED",
}


class Link(Part):
    href: Url = None


class Links(Part):
    html: Link | None = None


class Actor(Part):
    display_name: Text = ""


class Repository(Part):
    full_name: Name
    links: Links | None = None


class Target(Part):
    hash: CommitId
    message: Text = ""
    links: Links | None = None


class Reference(Part):
    type: Name
    name: Name
    target: Target


class Change(Part):
    old: Reference | None = None
    new: Reference | None = None


class Changes(Part):
    changes: tuple[Change, ...]


class Push(Part):
    push: Changes
    actor: Actor | None = None
    repository: Repository


class Commit(Part):
    hash: CommitId


class Branch(Part):
    name: Name


class Side(Part):
    branch: Branch
    commit: Commit
    repository: Repository | None = None  # null if the fork was deleted


class Request(Part):
    id: int
    title: Text = ""
    source: Side
    destination: Side
    links: Links | None = None


class RequestEvent(Part):
    pullrequest: Request
    actor: Actor | None = None
    repository: Repository


def read(headers: Mapping[str, str], body: bytes) -> Delivery:
    """Parse a request of Bitbucket Cloud; header names are in lower case. Raises `PayloadError`."""
    kind, delivery = headers.get("x-event-key", ""), headers.get("x-request-uuid", "")
    if kind == "repo:push":
        return _push(delivery, parse(Push, body))
    if event := _EVENTS.get(kind):
        return _pull_request(delivery, event, parse(RequestEvent, body))
    return Delivery(ignored=f"an event of kind {kind[:100]!r} starts no pipeline")


def _push(delivery: str, payload: Push) -> Delivery:
    changes = [(change.old, change.new) for change in payload.push.changes]
    events = [_push_event(delivery, payload, old, new) for old, new in changes if new and _is_known(new)]
    if events:
        return Delivery(tuple(events))
    gone = [f"{old.type} {old.name!r} was deleted" for old, new in changes if old and not new]
    return Delivery(ignored="; ".join(gone[:5]) or "neither a branch nor a tag was pushed")


def _is_known(reference: Reference) -> bool:
    return reference.type in ("branch", "tag")


def _push_event(delivery: str, payload: Push, old: Reference | None, new: Reference) -> GitEvent:
    is_tag = new.type == "tag"
    return GitEvent(
        host="bitbucket",
        server=server_of(_page(payload.repository.links)),
        repository=payload.repository.full_name,
        commit=new.target.hash,
        branch=None if is_tag else new.name,
        tag=new.name if is_tag else None,
        base=old.target.hash if old and not is_tag else None,
        author=payload.actor.display_name if payload.actor else "",
        message=new.target.message,
        url=_page(new.target.links),
        # One request may contain several pushes, and each one needs its own id.
        delivery=f"{delivery}/{new.type}/{new.name}" if delivery else "",
    )


def _pull_request(delivery: str, event: PullRequestEvent, payload: RequestEvent) -> Delivery:
    request = payload.pullrequest
    source = request.source
    pull_request = PullRequest(
        event=event,
        number=request.id,
        source_branch=source.branch.name,
        target_branch=request.destination.branch.name,
        title=request.title,
        merged=event == "CLOSED",
        source_repository=source.repository.full_name if source.repository else None,
    )
    found = GitEvent(
        host="bitbucket",
        server=server_of(_page(payload.repository.links)),
        repository=payload.repository.full_name,
        commit=source.commit.hash,
        pull_request=pull_request,
        base=request.destination.commit.hash,
        author=payload.actor.display_name if payload.actor else "",
        message=request.title,
        url=_page(request.links),
        delivery=delivery,
    )
    return Delivery((found,))


def _page(links: Links | None) -> str | None:
    return links.html.href if links and links.html else None
