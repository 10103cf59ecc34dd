"""`codepipeline trigger`: test which events of a git host start a pipeline, list deliveries, allow code of forks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from prefect_codepipeline.cli.output import Style, print_json, print_line
from prefect_codepipeline.cli.parameters import AsJson
from prefect_codepipeline.cli.session import connect, pairs, who
from prefect_codepipeline.errors import CodePipelineError

if TYPE_CHECKING:
    from prefect_codepipeline.engine.triggers.held_starts import Held
    from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
    from prefect_codepipeline.model.triggers.git_event import GitEvent
    from prefect_codepipeline.model.triggers.matching import Considered, Decision, Forks, Way

_ANSWERS: dict[str, tuple[str, Style]] = {
    "matches": ("matches ", "green"),
    "differs": ("does not", "dim"),
    "unknown": ("unknown ", "yellow"),
}
_GITLAB = {"push": "Push Hook", "tag_push": "Tag Push Hook", "merge_request": "Merge Request Hook"}
_BITBUCKET = {
    "OPEN": "pullrequest:created",
    "MERGED": "pullrequest:fulfilled",
    "DECLINED": "pullrequest:rejected",
}
# What makes a start idempotent is of no use to a reader.
_TOKENS: dict[str, Any] = {"results": {"__all__": {"held": {"token"}}}}


def try_event(
    name: str,
    *,
    event: Path,
    header: Annotated[list[str], Parameter(negative=())] = [],  # noqa: B006
    changed_file: Annotated[list[str], Parameter(negative=())] = [],  # noqa: B006
    poll: Annotated[bool, Parameter(negative=())] = False,
    json: AsJson = False,
) -> int:
    """Show which filters an event matches, and why. Starts nothing; exits with 1 if the event would start nothing.

    Parameters
    ----------
    name:
        Name of a deployed pipeline, or a definition file.
    event:
        File with the body that a git host sent, or an event in the project's own format (docs/triggers.md).
    header:
        NAME=VALUE of a request header, such as X-GitHub-Event=push; guessed from the body by default.
    changed_file:
        Path of a changed file, used instead of the files in the event; may be repeated.
    poll:
        Decide as for a push that polling found, not as for a webhook.
    """
    from prefect_codepipeline.model.triggers.matching import decide

    declaration, forks = _definition(name)
    way: Way = "poll" if poll else "webhook"
    decisions = []
    for found in _events(event, pairs(header, "--header")):
        known = replace(found, changed_files=tuple(changed_file)) if changed_file else found
        decisions.append((known, decide(declaration, known, way, forks=forks)))
    if json:
        print_json([_as_json(*each) for each in decisions])
    else:
        for number, each in enumerate(decisions):
            _print(declaration.name, *each, is_first=number == 0)
    return 0 if any(decision.starts for _, decision in decisions) else 1


def list_deliveries(*, limit: int = 20, json: AsJson = False) -> int:
    """List the recent webhook deliveries and the pushes found by polling, and their results.

    Parameters
    ----------
    limit:
        Maximum number of finished deliveries, latest first.
    """
    connect()
    from prefect_codepipeline.engine.triggers.held_starts import ID_LENGTH
    from prefect_codepipeline.engine.triggers.webhook_inbox import finished, waiting

    waiting_now, done = waiting(), finished(limit)
    if json:
        print_json(
            {
                "waiting": [each.model_dump(mode="json", exclude={"token"}) for each in waiting_now],
                "finished": [each.model_dump(mode="json", exclude=_TOKENS) for each in done],
            }
        )
        return 0
    for taken in waiting_now:
        for event in taken.events:
            print_line(f"{taken.at:%Y-%m-%d %H:%M:%S}  {taken.endpoint}  ", (f"{event}: waiting", "yellow"))
    for delivery in done:
        for result in delivery.results:
            style: Style = "green" if result.execution_id else "red" if result.refusal else "dim"
            how = f": codepipeline trigger allow {delivery.key[:ID_LENGTH]}" if result.is_held else ""
            print_line(
                f"{delivery.at:%Y-%m-%d %H:%M:%S}  {delivery.endpoint}  ",
                (f"{result}{how}", "yellow" if result.is_held else style),
            )
    if not waiting_now and not done:
        print_line("no webhook deliveries and no polled pushes in the last days")
    return 0


def allow_fork(
    delivery: str,
    *,
    pipeline: str | None = None,
    yes: Annotated[bool, Parameter(negative=())] = False,
    json: AsJson = False,
) -> int:
    """Start a pipeline with the code of a fork, which has waited for a review.

    Parameters
    ----------
    delivery:
        The id of the delivery, from `codepipeline trigger list`.
    pipeline:
        Only this pipeline, if several wait.
    yes:
        Do not ask.
    """
    connect()
    from prefect_codepipeline.engine.triggers.held_starts import allow, find_held

    if json and not yes:
        raise CodePipelineError("--json asks nothing: read the code of that commit, then add --yes")
    started = []
    for held in find_held(delivery, pipeline):
        if not json:
            _print_held(held)
        if not yes and not _may_start(held):
            print_line("it still waits")
            return 1
        execution_id = allow(held, who())
        started.append({"pipelineName": held.result.pipeline, "pipelineExecutionId": execution_id})
        if not json:
            print_line(f"{held.result.pipeline}: execution {execution_id} started")
    if json:
        print_json(started)
    return 0


def _print_held(held: Held) -> None:
    print_line((held.result.event, "bold"))
    for action, commit in held.start.source_revisions.items():
        print_line(f"  {action} reads {commit}")
    print_line(f"  author {held.start.author or 'not known'}")
    if held.start.url:
        print_line(f"  {held.start.url}")


def _may_start(held: Held) -> bool:
    if not sys.stdin.isatty():
        raise CodePipelineError("read the code of that commit, then repeat the command with --yes")
    question = f"Start {held.result.pipeline} with this code, which then has its secrets? [y/N] "
    return input(question).strip().lower() in ("y", "yes")


def _definition(name: str) -> tuple[PipelineDeclaration, Forks]:
    """The pipeline, and what its settings say about pull requests of forks."""
    from prefect_codepipeline.deployments.files.definition import read_definition

    path = Path(name)
    if path.is_file():
        from prefect_codepipeline.deployments.files.settings import read_settings_beside

        declaration = read_definition(path)
        settings = read_settings_beside(path, declaration)
        return declaration, settings.pull_requests_of_forks if settings else "never"
    connect()
    from prefect_codepipeline.deployments.create import find_deployment
    from prefect_codepipeline.engine.executions.definitions import newest_version, settings_of

    definition = newest_version(name, int(find_deployment(name)["version"] or 1))[1]
    return definition.masked(), settings_of(name).pull_requests_of_forks


def _events(path: Path, headers: dict[str, str]) -> tuple[GitEvent, ...]:
    from prefect_codepipeline.model.payloads import PayloadError, read_payload

    try:
        body = path.read_bytes()
    except OSError as error:
        raise CodePipelineError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        delivery = read_payload(headers or _guess(body), body)
    except PayloadError as error:
        hint = "" if headers else "; name its kind with --header, such as --header X-GitHub-Event=push"
        raise CodePipelineError(f"{path}: {error}{hint}") from None
    if not delivery.events:
        raise CodePipelineError(f"{path}: {delivery.ignored}; it starts nothing")
    return delivery.events


def _guess(body: bytes) -> dict[str, str]:
    """Guess the event header from the body: saved events usually lack their headers."""
    from json import loads

    try:
        content = loads(body)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(content, dict):
        return {}
    if kind := _GITLAB.get(str(content.get("object_kind"))):
        return {"X-Gitlab-Event": kind}
    if isinstance(content.get("push"), dict):
        return {"X-Event-Key": "repo:push"}
    if isinstance(request := content.get("pullrequest"), dict):
        return {"X-Event-Key": _BITBUCKET.get(str(request.get("state")), "pullrequest:updated")}
    # Gitea's bodies are like GitHub's.
    if "pull_request" in content and "action" in content:
        return {"X-GitHub-Event": "pull_request"}
    return {"X-GitHub-Event": "push"} if "ref" in content and "after" in content else {}


def _as_json(event: GitEvent, decision: Decision) -> dict[str, Any]:
    trigger = {"triggerType": decision.trigger_type, "triggerDetail": decision.trigger_detail}
    return {
        "event": asdict(event),
        "starts": decision.starts,
        "trigger": trigger if decision.starts else None,
        "sourceRevisions": decision.source_revisions,
        "needsChangedFiles": decision.needs_changed_files,
        "held": decision.held,
        "considered": [asdict(each) for each in decision.considered],
    }


def _print(name: str, event: GitEvent, decision: Decision, is_first: bool) -> None:
    if not is_first:
        print_line("")
    print_line((str(event), "bold"))
    for part in _verdict(name, decision):
        print_line(part)
    for each in decision.considered:
        _print_considered(each)


def _verdict(name: str, decision: Decision) -> Iterator[tuple[str, Style]]:
    if decision.starts:
        yield f"{name} starts, with trigger {decision.trigger_type} of {decision.trigger_detail}", "green"
        for action, commit in decision.source_revisions.items():
            yield f"  {action} reads {commit}", "dim"
    elif decision.held:
        yield f"{name} does not start: {decision.held}", "red"
    elif decision.needs_changed_files:
        yield f"{name} starts if the changed files match: test this with --changed-file PATH", "yellow"
    else:
        yield f"{name} does not start", "red"
        if not decision.considered:
            yield "  it has no source action that reads a git repository", "dim"


def _print_considered(each: Considered) -> None:
    print_line("  ", _ANSWERS[each.answer], f"  {each.path} of {each.source_action}: ", each.reason)
