"""Find pushes by polling the branches and tags of repositories: one `git ls-remote` for each repository and minute.

The references of the last poll are kept in Prefect, one block for each repository. The claim of a process to poll a
repository in a minute is a Prefect variable, which can be created only once. So any number of processes may poll, and
any of them may crash: a change that was not processed completely is found again, and starts an execution only once.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from prefect_codepipeline.actions.git.changed_files import Look, complete
from prefect_codepipeline.actions.git.failures import failure_of
from prefect_codepipeline.actions.git.places import Connections
from prefect_codepipeline.actions.git.process import Access, GitError, git_processes
from prefect_codepipeline.blocks.git_poll_state import GitPollState
from prefect_codepipeline.engine.executions.record import utc_now
from prefect_codepipeline.engine.operations.projection import deployed_definitions
from prefect_codepipeline.engine.triggers.object_polling import poll_objects
from prefect_codepipeline.engine.triggers.poll_claims import claim, drop_old_claims
from prefect_codepipeline.engine.triggers.polled import as_polled
from prefect_codepipeline.engine.triggers.triggering import Triggered, event_result, trigger
from prefect_codepipeline.engine.triggers.webhook_inbox import drop_old, replace_result
from prefect_codepipeline.errors import ActionFailed, MissingBlock
from prefect_codepipeline.model.printable import printable
from prefect_codepipeline.model.stored.definition import StoredDefinition
from prefect_codepipeline.model.triggers.git_event import GitEvent
from prefect_codepipeline.model.triggers.matching import GitPlace, git_places, is_polled
from prefect_codepipeline.model.triggers.webhook_delivery import MOST_RESULTS, EventResult, FinishedDelivery
from prefect_codepipeline.numbers_set import number_set
from prefect_codepipeline.prefect_api.block_documents import field_problems, find_block, save_block
from prefect_codepipeline.prefect_api.leases import server_time

# 0 turns polling off.
EVERY_SECONDS = int(number_set("PREFECT_CODEPIPELINE_POLL_SECONDS", 60))
MOST_REFERENCES = 20_000
_ASK_SECONDS, _READ_SECONDS = 50.0, 600.0
_AT_ONCE = 8


@dataclass(frozen=True)
class Reader:
    """A pipeline that reads a repository, with the places of the source actions that read it."""

    definition: StoredDefinition
    places: tuple[GitPlace, ...]


@dataclass
class Watched:
    """A repository that is polled, and the pipelines that read it."""

    access: Access
    readers: list[Reader] = field(default_factory=list)


@dataclass(frozen=True)
class Change:
    """A branch or tag whose commit has changed since the last poll; `before` is None if it is new."""

    reference: str
    before: str | None
    now: str


def poll_once(connections: bool = True, now: datetime | None = None) -> list[str]:
    """Poll every repository and object once and start executions for changes. One sentence for each start and each problem.

    A repository that another process has polled in this minute is skipped.

    Args:
        connections: also poll the repositories of `CodeStarSourceConnection` actions, except those with a webhook.
        now: the time of the poll; by default the server's time.

    Raises:
        PrefectUnavailable: Prefect does not respond; the next poll finds the changes that were not processed.
    """
    minute = int((now or server_time()).timestamp() // max(EVERY_SECONDS, 1))
    definitions = deployed_definitions()
    watched, sentences = find_watched(definitions, connections)
    drop_old_claims(minute)
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="codepipeline-poll") as pool:
        for found in pool.map(lambda each: _poll_if_claimed(each, minute), watched):
            sentences += found
    return sentences + poll_objects(definitions, minute)


def find_watched(
    definitions: Iterable[StoredDefinition], connections: bool
) -> tuple[list[Watched], list[str]]:
    """The repositories to poll, each once; and one sentence for each source action that cannot be polled."""
    known, found, sentences = Connections(), dict[str, Watched](), list[str]()
    for definition in definitions:
        try:
            declaration = as_polled(definition.whole())
        except MissingBlock as error:
            sentences.append(f"pipeline {definition.pipeline_name!r} is not polled: {error}")
            continue
        by_url: dict[str, list[GitPlace]] = {}
        for place in git_places(declaration):
            if not is_polled(declaration, place, connections) or known.has_webhook(place):
                continue
            try:
                access = known.access(place)
            except (ActionFailed, ValidationError, ValueError) as error:
                sentences.append(
                    f"pipeline {declaration.name!r}: source action {place.action.name!r} is not polled: "
                    f"{_error_text(error)}"
                )
                continue
            by_url.setdefault(access.url, []).append(place)
            watched = found.setdefault(access.url, Watched(access))
            if watched.access.token is None and access.token is not None:
                watched.access = access
        for url, places in by_url.items():
            found[url].readers.append(Reader(definition, tuple(places)))
    return list(found.values()), sentences


def remote_references(access: Access, look: Look) -> dict[str, str]:
    """The commit of each branch and tag of a repository, by full name; for an annotated tag, the commit it points to.

    Raises:
        ActionFailed: the repository cannot be read; the reason in one sentence.
    """
    with tempfile.TemporaryDirectory(prefix="codepipeline-poll-") as folder:
        home = Path(folder) / "home"
        try:
            with git_processes(home, access, look.check, lambda _: None) as git:
                output = git.run("ls-remote", "--quiet", "--heads", "--tags", "--", access.url)
        except GitError as error:
            raise failure_of(error, access.url, home) from None
    found: dict[str, str] = {}
    for line in os.fsdecode(output).splitlines():
        commit, _, name = line.partition("\t")
        # `refs/tags/v1^{}` follows `refs/tags/v1`.
        found[name.removesuffix("^{}")] = commit
    return found


def _error_text(error: Exception) -> str:
    if isinstance(error, ValidationError):  # its text would quote the input, which may contain a token
        return field_problems(error)
    return str(error)


def _poll_if_claimed(watched: Watched, minute: int) -> list[str]:
    url = watched.access.url
    name = hashlib.sha256(url.encode()).hexdigest()[:32]
    if not claim(name, minute):
        return []
    try:
        return _poll(watched, name)
    except ActionFailed as error:
        return [f"polling {url}: {error}"]


def _poll(watched: Watched, name: str) -> list[str]:
    access = watched.access
    seen = find_block(GitPollState, name)
    now = remote_references(access, Look.at(access, _ASK_SECONDS))
    if len(now) > MOST_REFERENCES:
        raise ActionFailed(
            f"the repository has {len(now)} branches and tags, and polling supports {MOST_REFERENCES}; use a webhook"
        )
    if seen is None:
        # The first poll only records the references; it starts nothing.
        save_block(GitPollState(url=access.url, references=now, generation=0), name)
        return []
    sentences: list[str] = []
    for change in _changes(seen.references, now):
        try:
            sentences += _trigger_pipelines(watched, seen, change)
        except ActionFailed as error:
            sentences.append(
                f"polling {access.url}: {printable(change.reference)}: {error}; it will be tried again"
            )
            # The next poll finds the change again.
            _restore(now, change)
    if now != seen.references and _is_current(name, seen.generation):
        save_block(GitPollState(url=access.url, references=now, generation=seen.generation + 1), name)
    return sentences


def _changes(before: dict[str, Any], now: dict[str, str]) -> Iterator[Change]:
    for reference, commit in sorted(now.items()):
        if before.get(reference) != commit:
            yield Change(reference, before.get(reference), commit)


def _restore(now: dict[str, str], change: Change) -> None:
    if change.before is None:
        del now[change.reference]
    else:
        now[change.reference] = change.before


def _trigger_pipelines(watched: Watched, seen: GitPollState, change: Change) -> list[str]:
    """Trigger every pipeline that reads the repository, for one push."""
    # A change that is found again after a crash has the same token; the same push made again later has another one.
    parts = (seen.url, change.reference, change.before or "", change.now, str(seen.generation))
    token = f"poll-{hashlib.sha256(chr(10).join(parts).encode()).hexdigest()[:32]}"
    known: dict[str, GitEvent] = {}

    def completed(event: GitEvent) -> GitEvent:
        if not known:
            known["event"] = complete(event, watched.access, Look.at(watched.access, _READ_SECONDS))
        return replace(event, commit=known["event"].commit, changed_files=known["event"].changed_files)

    results: list[EventResult] = []
    triggered: list[Triggered] = []
    for reader in watched.readers:
        event = _event(reader.places[0], change)
        actions = [place.action.name for place in reader.places]
        triggered.append(trigger(reader.definition, event, "poll", token, completed, actions))
        results.append(event_result(triggered[-1], token))
    _record(token, results)
    return [str(each) for each in triggered if each.execution_id or each.refusal]


def _record(token: str, results: list[EventResult]) -> None:
    """Keep the results for `codepipeline trigger list`, beside those of webhooks."""
    now = utc_now()
    drop_old(now)
    replace_result(
        FinishedDelivery(
            key=token, at=now, finished_at=now, endpoint="polling", results=tuple(results[:MOST_RESULTS])
        )
    )


def _event(place: GitPlace, change: Change) -> GitEvent:
    kind, _, name = change.reference.removeprefix("refs/").partition("/")
    is_tag = kind == "tags"
    return GitEvent(
        host="git",
        repository=place.repository,
        commit=change.now,
        branch=None if is_tag else name,
        tag=name if is_tag else None,
        base=None if is_tag else change.before,
    )


def _is_current(name: str, generation: int) -> bool:
    """Whether no other process has saved a newer state meanwhile: reading files may take longer than a minute."""
    state = find_block(GitPollState, name)
    return state is not None and state.generation == generation
