"""Decide whether an event of a git repository starts a pipeline, by which filter, and why other filters do not match.

https://docs.aws.amazon.com/codepipeline/latest/userguide/pipelines-triggers.html
https://docs.aws.amazon.com/codepipeline/latest/userguide/pipelines-filter.html
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from prefect_codepipeline.model.definition.declaration import (
    ActionDeclaration,
    GitConfiguration,
    GitFilter,
    GitPullRequestFilter,
    GitPushFilter,
    PipelineDeclaration,
)
from prefect_codepipeline.model.definition.globs import GlobError, compile_glob
from prefect_codepipeline.model.record.facts import TriggerType
from prefect_codepipeline.model.triggers.git_event import GitEvent

# The origin of an event: sent by the host, or found by polling the branches and tags of the repository.
Way = Literal["webhook", "poll"]
# `unknown`: the answer depends on the changed files, which are not known yet.
Answer = Literal["matches", "differs", "unknown"]
# What a pull request of a fork does: start nothing, wait until a person allows it, or start like any other.
Forks = Literal["never", "ask", "always"]

_REFUSED = (
    "a pull request of {} starts nothing: its author could run any command with the pipeline's secrets; "
    "allow it with `pull_requests_of_forks: ask` or `always` in the pipeline's settings"
)
_HELD = "a pull request of {} waits until a person has read its code and allows it"
CONNECTION, CODECOMMIT, GITHUB = "CodeStarSourceConnection", "CodeCommit", "GitHub"


@dataclass(frozen=True)
class GitPlace:
    """The repository and branch of a source action, and whether it detects changes without a trigger."""

    action: ActionDeclaration
    repository: str
    branch: str
    detects: bool
    connection: str | None = None

    @property
    def provider(self) -> str:
        return self.action.action_type_id.provider


@dataclass(frozen=True)
class Considered:
    """The answer of one filter, or of the change detection of a source action.

    Attributes:
        source_action: the source action.
        path: the path of the filter in the definition, such as `triggers[0].gitConfiguration.push[1]`.
        answer: whether it matches.
        reason: why, in one sentence without a full stop.
    """

    source_action: str
    path: str
    answer: Answer
    reason: str


@dataclass(frozen=True)
class Decision:
    """Whether an event starts one execution of a pipeline.

    Attributes:
        considered: the answers of all filters and detections in the order of the definition; the first match starts.
        source_revisions: the commit for each source action that matched, by name; others use the head of their branch.
        trigger_type: AWS's trigger type, or None if nothing starts.
        trigger_detail: of a poll the branch or tag, with the commit; of a webhook the connection, or the source action.
        held: why a matching event starts nothing yet, because its code is of a fork; empty for all others.
        may_be_allowed: whether a person may still start an event that is held.
    """

    considered: tuple[Considered, ...]
    source_revisions: dict[str, str]
    trigger_type: TriggerType | None = None
    trigger_detail: str = ""
    held: str = ""
    may_be_allowed: bool = False

    @property
    def starts(self) -> bool:
        return self.trigger_type is not None and not self.held

    @property
    def match(self) -> Considered | None:
        """The first filter or detection that matches, or None."""
        return next((each for each in self.considered if each.answer == "matches"), None)

    @property
    def needs_changed_files(self) -> bool:
        """Whether `decide` must be called again with the changed files from git."""
        return not self.held and any(each.answer == "unknown" for each in self.considered)


def decide(
    declaration: PipelineDeclaration,
    event: GitEvent,
    way: Way = "webhook",
    actions: Collection[str] | None = None,
    forks: Forks = "never",
) -> Decision:
    """Decide whether `event` starts an execution of the pipeline: at most one, even if several filters match.

    Args:
        declaration: the declaration of the pipeline.
        event: the event of a repository. If its `changed_files` are None but needed, the decision says so.
        way: a webhook starts everything that AWS starts through connections, webhooks and event rules; a poll finds only
            pushes, and respects `PollForSourceChanges`.
        actions: the source actions that read the repository of the event. Without them, the repository is compared by
            name only, although two hosts may have a repository with the same name.
        forks: what the pipeline's settings say about pull requests of forks.
    """
    places = [each for each in git_places(declaration) if actions is None or each.action.name in actions]
    considered: list[Considered] = []
    for place in places:
        if actions is None and not _is_of(place, event):
            considered.append(_other_repository(declaration, place, event))
        else:
            considered += _check_source(declaration, place, event, way)
    matching = {each.source_action for each in considered if each.answer == "matches"}
    if event.fork and forks == "never" and any(each.answer != "differs" for each in considered):
        return Decision(tuple(considered), {}, held=_REFUSED.format(event.fork))
    # Source actions of the same repository may share the commit: the branch of each one has been checked.
    chosen = [place for place in places if place.action.name in matching]
    if not chosen:
        return Decision(tuple(considered), {})
    return Decision(
        tuple(considered),
        {place.action.name: event.commit for place in chosen},
        _trigger_type(chosen[0], way),
        _trigger_detail(chosen[0], event, way),
        _HELD.format(event.fork) if event.fork and forks == "ask" else "",
        forks == "ask",
    )


def git_places(declaration: PipelineDeclaration) -> list[GitPlace]:
    """The git source actions of a pipeline, in the order of the definition."""
    actions = (action for stage in declaration.stages for action in stage.actions)
    return [place for action in actions if (place := git_place(action))]


def is_polled(declaration: PipelineDeclaration, place: GitPlace, connections: bool = True) -> bool:
    """Whether pushes that polling finds can start the pipeline through that source action.

    Args:
        declaration: the declaration of the pipeline.
        place: one of its source actions.
        connections: also poll for connections, which on AWS get webhooks from the host.
    """
    _, git = _trigger_of(declaration, place.action.name)
    if place.provider == CONNECTION and not connections:
        return False
    if git is None:
        return place.detects
    # A trigger without filters applies to pushes to the branch.
    return bool(git.push) or not git.pull_request


def git_place(action: ActionDeclaration) -> GitPlace | None:
    """The repository and branch of a git source action; None for every other action."""
    kind, configuration = action.action_type_id, action.configuration
    if kind.category != "Source" or kind.owner not in ("AWS", "ThirdParty"):
        return None

    def is_set(key: str) -> bool:
        return configuration.get(key, "true").lower() != "false"

    branch = configuration.get("BranchName", "")
    if kind.provider == CONNECTION:
        repository = configuration.get("FullRepositoryId", "")
        arn = configuration.get("ConnectionArn")
        return GitPlace(action, repository, branch, is_set("DetectChanges"), arn)
    if kind.provider == CODECOMMIT:
        repository = configuration.get("RepositoryName", "")
        return GitPlace(action, repository, branch, is_set("PollForSourceChanges"))
    if kind.provider == GITHUB:
        repository = f"{configuration.get('Owner', '')}/{configuration.get('Repo', '')}"
        return GitPlace(action, repository, configuration.get("Branch", ""), is_set("PollForSourceChanges"))
    return None


def _trigger_type(place: GitPlace, way: Way) -> TriggerType:
    if way == "poll":
        return "PollForSourceChanges"
    if place.provider == CONNECTION:
        return "WebhookV2"
    return "Webhook" if place.provider == GITHUB else "CloudWatchEvent"


def _trigger_detail(place: GitPlace, event: GitEvent, way: Way) -> str:
    if way == "poll":  # no host has reported it, so the connection says nothing about it
        name = f"tag {event.tag}" if event.tag is not None else f"branch {event.branch}"
        return f"{name[:1000]} at {event.commit[:12]}"
    return (place.connection or place.action.name)[:1024]


def _other_repository(declaration: PipelineDeclaration, place: GitPlace, event: GitEvent) -> Considered:
    reason = f"the event is of repository {event.repository!r}, the action reads {place.repository!r}"
    return Considered(place.action.name, _path_of(declaration, place), "differs", reason)


def _check_source(
    declaration: PipelineDeclaration, place: GitPlace, event: GitEvent, way: Way
) -> Iterator[Considered]:
    """Check each filter of the source action's trigger; without filters, its own detection of changes."""
    path = _path_of(declaration, place)
    _, git = _trigger_of(declaration, place.action.name)
    filters = _filters_of(git, path) if git else []
    for where, found in filters:
        yield Considered(place.action.name, where, *_check_filter(found, event))
    if not filters:
        yield Considered(place.action.name, path, *_check_detection(place, event, way, bool(git)))


def _path_of(declaration: PipelineDeclaration, place: GitPlace) -> str:
    """The path of the action's trigger in the definition; the action itself if it has no trigger."""
    index, git = _trigger_of(declaration, place.action.name)
    return f"triggers[{index}].gitConfiguration" if git else f"action {place.action.name}"


def _trigger_of(declaration: PipelineDeclaration, action: str) -> tuple[int, GitConfiguration | None]:
    for index, trigger in enumerate(declaration.triggers or []):
        if trigger.git_configuration.source_action_name == action:
            return index, trigger.git_configuration
    return -1, None


def _filters_of(git: GitConfiguration, path: str) -> list[tuple[str, GitPushFilter | GitPullRequestFilter]]:
    pushes = [(f"{path}.push[{index}]", found) for index, found in enumerate(git.push or [])]
    requests = [(f"{path}.pullRequest[{index}]", found) for index, found in enumerate(git.pull_request or [])]
    return [*pushes, *requests]


def _is_of(place: GitPlace, event: GitEvent) -> bool:
    # All hosts ignore case in repository names. CodeCommit's names have no owner, other hosts' names do.
    wanted, found = place.repository.casefold(), event.repository.casefold()
    return found == wanted or (place.provider == CODECOMMIT and found.rpartition("/")[2] == wanted)


def _check_detection(place: GitPlace, event: GitEvent, way: Way, has_trigger: bool) -> tuple[Answer, str]:
    """Check a source action without filters: it starts for every push to its branch."""
    is_connection = place.provider == CONNECTION
    # The flag applies only to polling: a webhook or event rule for the same action was created by a user.
    if not place.detects and not has_trigger and (is_connection or way == "poll"):
        key = "DetectChanges" if is_connection else "PollForSourceChanges"
        return "differs", f"{key} is false and no trigger has filters for it"
    if event.branch is None:
        return "differs", "without filters, only pushes to its branch start the pipeline"
    if event.branch != place.branch:
        return "differs", f"its branch is {place.branch!r}"
    return "matches", f"a push to its branch {place.branch!r}"


def _check_filter(found: GitPushFilter | GitPullRequestFilter, event: GitEvent) -> tuple[Answer, str]:
    """All parts of a filter must match. The files are checked last, because they may be unknown."""
    reasons: list[str] = []
    for part in _parts_of(found, event):
        if part[0] == "differs":
            return part
        reasons.append(part[1])
    files = _files_match(found.file_paths, event)
    if files[0] != "matches":
        return files
    return "matches", ", ".join([*reasons, files[1]] if found.file_paths else reasons)


def _parts_of(found: GitPushFilter | GitPullRequestFilter, event: GitEvent) -> Iterator[tuple[Answer, str]]:
    if isinstance(found, GitPushFilter):
        yield from _push_parts(found, event)
        return
    request = event.pull_request
    if request is None:
        yield "differs", "it applies to pull requests"
        return
    # AWS does not document a filter without events; it applies to all events, like the other missing parts.
    if found.events and request.event not in found.events:
        yield "differs", f"it applies to pull request events {' or '.join(found.events)}, not {request.event}"
    yield _matches(found.branches, "target branch", request.target_branch)


def _push_parts(found: GitPushFilter, event: GitEvent) -> Iterator[tuple[Answer, str]]:
    if event.pull_request:
        yield "differs", "it applies to pushes"
        return
    if found.tags is not None:
        yield _matches_name(found.tags, "tag", event.tag)
    if found.branches is not None:
        yield _matches_name(found.branches, "branch", event.branch)
    if found.tags is None and found.branches is None:
        yield "matches", "any push"


def _matches_name(patterns: GitFilter, what: str, name: str | None) -> tuple[Answer, str]:
    if name is None:
        return "differs", f"it applies to a {what}, and this push has none"
    return _matches(patterns, what, name)


def _matches(patterns: GitFilter | None, what: str, name: str) -> tuple[Answer, str]:
    if patterns is None:
        return "matches", f"any {what}"
    if problem := _problem_in(patterns):
        return "differs", problem
    if excluded := _first_match(patterns.excludes, name):
        return "differs", f"{what} {name!r} is excluded by {excluded!r}"
    if not patterns.includes:
        return "matches", f"{what} {name!r} is not excluded"
    included = _first_match(patterns.includes, name)
    if included is None:
        return "differs", f"{what} {name!r} does not match {' or '.join(map(repr, patterns.includes))}"
    return "matches", f"{what} {name!r} matches {included!r}"


def _files_match(patterns: GitFilter | None, event: GitEvent) -> tuple[Answer, str]:
    """Whether at least one changed file is included and not excluded; each file is checked separately."""
    if patterns is None:
        return "matches", "any file"
    if problem := _problem_in(patterns):
        return "differs", problem
    if event.base is None and event.changed_files is None and not event.pull_request:
        return (
            "differs",
            "there is no earlier commit to compare with, as for the first push of a branch, so no file has changed",
        )
    if event.changed_files is None:
        return "unknown", "it depends on the changed files, and the event does not list them completely"
    for name in event.changed_files:
        answer, reason = _matches(patterns, "file", name)
        if answer == "matches":
            return answer, reason
    count = len(event.changed_files)
    if count == 1:
        return _matches(patterns, "file", event.changed_files[0])
    return "differs", f"of {count} changed files, each is excluded or not included"


def _problem_in(patterns: GitFilter) -> str | None:
    """The problem of an invalid pattern, or None. Such a filter starts nothing, because it could match too much."""
    for text in (*(patterns.includes or ()), *(patterns.excludes or ())):
        try:
            compile_glob(text)
        except GlobError as error:
            return f"{text!r} is not a pattern: {error}"
    return None


def _first_match(patterns: Sequence[str] | None, name: str) -> str | None:
    return next((text for text in patterns or () if compile_glob(text).matches(name)), None)
