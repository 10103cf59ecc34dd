"""Tell git hosts how a pipeline fares with their commits. A host may be slow or away: the pipeline never waits for it.

The newest status wins; what a host did not take is sent again, with pauses. A token that may not is said once.
"""

from __future__ import annotations

import base64
import logging
import re
import time
from dataclasses import dataclass, field
from typing import Any

import httpx

from prefect_codepipeline.actions.git.places import Connections
from prefect_codepipeline.blocks.git_connection import GitConnection, api_address, kind_of_host, name_on_host
from prefect_codepipeline.engine.executions.definitions import read_definition_block
from prefect_codepipeline.engine.executions.follower import Follower
from prefect_codepipeline.engine.executions.process import Execution
from prefect_codepipeline.errors import ActionFailed, CodePipelineError
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.record.facts import ActionStarted
from prefect_codepipeline.model.record.state import ExecutionState
from prefect_codepipeline.model.triggers.matching import GitPlace, git_place, git_places
from prefect_codepipeline.model.views.commit_status import (
    CommitStatus,
    HostKind,
    body_of,
    commits_to_report,
    path_of,
    status_of,
)
from prefect_codepipeline.prefect_api.runs import run_logger
from prefect_codepipeline.prefect_api.ui import run_url

FLUSH_SECONDS = 5.0
TIMEOUT_SECONDS = 5.0
# Between two statuses of one commit: hosts limit them, and nobody reads faster.
_BETWEEN = 2.0
_BURST_SECONDS = 0.5
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_SAID_LENGTH = 200
_RESOLVED = ("ConnectionArn", "FullRepositoryId", "RepositoryName", "Owner", "Repo")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_NEEDS: dict[HostKind, str] = {
    "github": "a fine-grained token needs 'Commit statuses: Read and write', a classic one 'repo:status'",
    "gitlab": "a token needs the scope 'api' and the role Developer",
    "gitea": "a token needs 'write:repository'",
    "bitbucket": "a token needs the scope 'repository'",
}
# The run's own log where there is one; a thread has none of its own.
AnyLogger = logging.Logger | logging.LoggerAdapter[Any]
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """Where one commit's status goes. `name` is the connection's, for people."""

    name: str
    kind: HostKind
    url: str
    headers: dict[str, str] = field(repr=False)


@dataclass
class _Standing:
    """How far one place is. Times are in `time.monotonic()` seconds."""

    place: Place
    body: dict[str, Any]
    told: dict[str, Any] | None = None
    due: float = 0.0
    pause: float = _FIRST_PAUSE
    is_silent: bool = False

    @property
    def is_behind(self) -> bool:
        return not self.is_silent and self.body != self.told


class CommitStatuses(Follower):
    """Tells the commits of one execution how it stands, in a thread of its own."""

    def __init__(self, execution: Execution) -> None:
        super().__init__(execution, "codepipeline-commits", _BURST_SECONDS)
        self._teller = Teller(execution.declaration, run_logger(_logger))

    def _follow(self) -> None:
        try:
            self._tell_until_over()
        except Exception as error:  # a status is lost rather than the pipeline
            _logger.warning("commits are not told how the pipeline fares: %s", type(error).__name__)

    def _tell_until_over(self) -> None:
        over = False
        while not over:
            self._changed.wait(self._teller.rest())
            over = self._over.wait(self._pause_seconds)
            self._changed.clear()
            state = self._execution.state
            self._teller.learn(state, status_of(state, run_url(state.execution_id)))
            if not over:
                self._teller.tell()
        self._teller.flush(FLUSH_SECONDS)


class Teller:
    """Knows which commits were told what.

    Args:
        declaration: of the pipeline, its secrets included.
        logger: where trouble is said, once of each kind and place.
    """

    def __init__(self, declaration: PipelineDeclaration, logger: AnyLogger | None = None) -> None:
        self._declaration = declaration
        self._logger = logger or _logger
        self._connections = Connections()
        self._looked_up: dict[tuple[str, str], Place | None] = {}
        self._standings: dict[str, _Standing] = {}
        self._warned: set[tuple[str, str]] = set()
        self._http: httpx.Client | None = None

    def learn(self, state: ExecutionState, status: CommitStatus) -> None:
        """Take note of how the execution stands, for each commit that it has read by now."""
        for action, commit in commits_to_report(state).items():
            key = (action, commit)
            if key not in self._looked_up:
                try:
                    self._looked_up[key] = self._place(state, action, commit)
                except CodePipelineError as error:  # it is tried again with the next change
                    self._warn("lookup", action, f"the commit of {action!r} has no status by now: {error}")
                    continue
            if place := self._looked_up[key]:
                body = body_of(place.kind, status)
                standing = self._standings.setdefault(place.url, _Standing(place, body))
                standing.body = body

    def rest(self) -> float | None:
        """Seconds until something is to be sent; None when nothing is."""
        due = [standing.due for standing in self._standings.values() if standing.is_behind]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def tell(self) -> None:
        """Send what is due."""
        for standing in self._standings.values():
            if standing.is_behind and standing.due <= time.monotonic():
                self._send(standing, TIMEOUT_SECONDS)

    def flush(self, seconds: float) -> None:
        """Send what is left, for so long at most."""
        deadline = time.monotonic() + seconds
        for standing in self._standings.values():
            standing.due, standing.pause = 0.0, min(standing.pause, _FIRST_PAUSE)
        while (rest := self.rest()) is not None:
            if time.monotonic() + rest >= deadline:
                self._warn("late", "", "a commit was not told the latest of the execution in time")
                break
            time.sleep(rest)
            for standing in self._standings.values():
                left = deadline - time.monotonic()
                if standing.is_behind and standing.due <= time.monotonic() and left > 0:
                    self._send(standing, min(TIMEOUT_SECONDS, left))
        if self._http:
            self._http.close()
            self._http = None

    def _place(self, state: ExecutionState, action: str, commit: str) -> Place | None:
        """Where the status of the commit goes; None when nobody is to be told, or nobody can be."""
        found = next((each for each in git_places(self._declaration) if each.action.name == action), None)
        if found is None:
            return None
        place = _resolved(found, state)
        try:
            connection = self._connections.connection(place)
            repository = name_on_host(connection, place.repository)
        except (ActionFailed, ValueError):  # the action itself said why, and read no commit
            return None
        kind, address = kind_of_host(connection), api_address(connection)
        if not (connection.token and connection.commit_statuses and kind and address):
            return None
        path = path_of(kind, repository, commit)
        name = self._connections.name(place) or "github"
        if not _fits_a_header(connection.token.get_secret_value()):
            self._warn(
                "token",
                name,
                f"no host takes the token of connection {name!r}: it holds a line break or a space",
            )
            return None
        return Place(name, kind, address + path, _headers(kind, connection)) if path else None

    def _send(self, standing: _Standing, seconds: float) -> None:
        body, place = standing.body, standing.place
        self._http = self._http or httpx.Client(follow_redirects=False)
        try:
            answer = self._http.post(place.url, json=body, headers=place.headers, timeout=seconds)
        except Exception as error:  # its text may quote the token
            self._put_off(standing, f"does not answer ({type(error).__name__})", None)
            return
        if answer.is_success or _says_nothing_new(place.kind, answer):
            standing.told, standing.pause = body, _FIRST_PAUSE
            standing.due = time.monotonic() + _BETWEEN
        elif answer.status_code >= 500 or _is_limited(answer):
            self._put_off(standing, f"answered {answer.status_code}", _asked_rest(answer))
        else:
            standing.is_silent = True
            self._warn("refused", place.name, _refusal(place, answer))

    def _put_off(self, standing: _Standing, what: str, seconds: float | None) -> None:
        pause, standing.pause = standing.pause, min(2 * standing.pause, _LONGEST_PAUSE)
        standing.due = time.monotonic() + (pause if seconds is None else seconds)
        host = httpx.URL(standing.place.url).host
        self._warn("away", host, f"{host} {what}; its commits get their status when it takes it")

    def _warn(self, kind: str, subject: str, text: str) -> None:
        if (kind, subject) not in self._warned:
            self._logger.warning("%s", text)
        self._warned.add((kind, subject))


def tell_commits_the_end(state: ExecutionState) -> None:
    """Tell its commits how an execution ended that no process will tell of. Takes some seconds at most.

    Args:
        state: of the execution, by its whole record.
    """
    try:
        teller = Teller(read_definition_block(state.pinned.definition_id).whole())
        teller.learn(state, status_of(state, run_url(state.execution_id)))
        teller.flush(FLUSH_SECONDS)
    except CodePipelineError as error:  # a status is lost rather than what ends the execution
        _logger.warning("the commits of execution %s are not told its end: %s", state.execution_id, error)


def _resolved(place: GitPlace, state: ExecutionState) -> GitPlace:
    """The place as the action found it, its variables replaced."""
    action = next(found for _, found in state.actions if found.name == place.action.name)
    started: ActionStarted | None = action.started
    known = started.resolved_configuration if started else {}
    replaced = {key: known[key] for key in _RESOLVED if key in known}
    configuration = {**place.action.configuration, **replaced}
    return git_place(place.action.model_copy(update={"configuration": configuration})) or place


def _fits_a_header(token: str) -> bool:
    # A library that refuses one quotes it.
    return token.isascii() and token.isprintable() and " " not in token and bool(token)


def _headers(kind: HostKind, connection: GitConnection) -> dict[str, str]:
    assert connection.token, "asked for before"
    token = connection.token.get_secret_value()
    headers = {"User-Agent": "prefect-codepipeline", "Authorization": f"Bearer {token}"}
    if kind == "github":
        headers |= {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
    elif kind == "gitea":
        headers["Authorization"] = f"token {token}"
    elif kind == "bitbucket" and connection.username:  # an app password or API token is one half of a login
        login = base64.b64encode(f"{connection.username}:{token}".encode()).decode()
        headers["Authorization"] = f"Basic {login}"
    return headers


def _says_nothing_new(kind: HostKind, answer: httpx.Response) -> bool:
    """GitLab refuses the state that a commit has already, which a process before this one told it."""
    return kind == "gitlab" and answer.status_code == 400 and "Cannot transition status" in answer.text


def _is_limited(answer: httpx.Response) -> bool:
    if answer.status_code in (408, 429):
        return True
    limits = ("retry-after" in answer.headers, answer.headers.get("x-ratelimit-remaining") == "0")
    return answer.status_code == 403 and any(limits)


def _asked_rest(answer: httpx.Response) -> float | None:
    """How long the host wants to be left alone, in seconds."""
    text = answer.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() else None


def _refusal(place: Place, answer: httpx.Response) -> str:
    code = answer.status_code
    host = httpx.URL(place.url).host
    if code in (401, 403, 404):
        return (
            f"{host} does not take the status of a commit ({code}) from connection {place.name!r}: {_NEEDS[place.kind]}; "
            "or set commit_statuses of the connection to false"
        )
    if answer.is_redirect:
        return (
            f"{host} wants the status of a commit sent elsewhere ({code}), where the token of connection {place.name!r} "
            "is not sent: correct its url_template or api_url, or the repository's name"
        )
    said = _CONTROL.sub(" ", answer.text[:_SAID_LENGTH])
    return f"{host} refuses the status of a commit ({code}): {said}"
