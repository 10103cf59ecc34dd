"""Send the status of a pipeline's executions to git hosts, as commit statuses. The pipeline never waits for a host.

Only the newest status is sent. If a host is unavailable or limits requests, the status is sent again after a pause.
If a host refuses a status, no more are sent for that commit, and one warning is logged for the connection.
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
from prefect_codepipeline.engine.executions.pause import read_retry_after
from prefect_codepipeline.engine.executions.process import Execution
from prefect_codepipeline.engine.notifications.outbox import Outbox, close_all
from prefect_codepipeline.errors import ActionFailed, CodePipelineError
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.record.facts import ActionStarted
from prefect_codepipeline.model.record.state import ExecutionState
from prefect_codepipeline.model.triggers.matching import GitPlace, git_place, git_places
from prefect_codepipeline.model.views.commit_status import (
    HostKind,
    body_of,
    commits_to_report,
    path_of,
    status_of,
)
from prefect_codepipeline.prefect_api.runs import AnyLogger, run_logger
from prefect_codepipeline.prefect_api.ui import run_url

_FLUSH_SECONDS = 5.0
TIMEOUT_SECONDS = 5.0
# Between two statuses of one commit: hosts limit the rate of requests.
_BETWEEN = 2.0
_BURST_SECONDS = 0.5
_ANSWER_LENGTH = 200
_RESOLVED = ("ConnectionArn", "FullRepositoryId", "RepositoryName", "Owner", "Repo")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_NEEDS: dict[HostKind, str] = {
    "github": "a fine-grained token needs 'Commit statuses: Read and write', a classic one 'repo:status'",
    "gitlab": "a token needs the scope 'api' and the role Developer",
    "gitea": "a token needs 'write:repository'",
    "bitbucket": "a token needs the scope 'repository'",
}
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """The endpoint for the status of one commit. `name` is the connection's name, for messages."""

    name: str
    kind: HostKind
    url: str
    headers: dict[str, str] = field(repr=False)


@dataclass
class _Delivery:
    """The status to send to one place, and the last status that was sent."""

    place: Place
    body: dict[str, Any]
    sent_body: dict[str, Any] | None = None
    next_at: float = 0.0  # in `time.monotonic()` seconds
    is_refused: bool = False

    @property
    def is_pending(self) -> bool:
        return not self.is_refused and self.body != self.sent_body


class CommitStatuses(Follower):
    """Queues the status of one execution for its commits after each change."""

    def __init__(self, execution: Execution) -> None:
        super().__init__(execution, "codepipeline-commits", _BURST_SECONDS)
        # The flow run's logger is taken before the threads start: a thread has no run context.
        self._sender = StatusSender(execution.declaration, run_logger(_logger))

    def _follow(self) -> None:
        try:
            for _ in self._changes():
                self._sender.update(self._execution.state)
        except Exception as error:  # losing a status must not fail the pipeline
            _logger.warning("commit statuses are no longer sent: %s", type(error).__name__)
        close_all([self._sender], _FLUSH_SECONDS)


class StatusSender(Outbox[tuple[_Delivery, dict[str, Any]], httpx.Response]):
    """Sends commit statuses, and remembers the last status of each commit.

    Args:
        declaration: the definition of the pipeline, secrets included.
        logger: receives the warnings, one for each kind of problem and place.
    """

    def __init__(self, declaration: PipelineDeclaration, logger: AnyLogger | None = None) -> None:
        super().__init__("codepipeline-commit-statuses", logger or _logger)
        self._declaration = declaration
        self._connections = Connections()
        self._looked_up: dict[tuple[str, str], Place | None] = {}
        self._deliveries: dict[str, _Delivery] = {}
        self._http: httpx.Client | None = None

    def update(self, state: ExecutionState) -> None:
        """Queue the status of the execution for each commit that it has read by now.

        For a new commit this looks up the connection, which asks Prefect's API.
        """
        status = status_of(state, run_url(state.execution_id))
        for action, commit in commits_to_report(state).items():
            key = (action, commit)
            if key not in self._looked_up:
                try:
                    self._looked_up[key] = self._place(state, action, commit)
                except CodePipelineError as error:  # tried again with the next change
                    self._warn(
                        ("lookup", action),
                        f"the commit of {action!r} has no status yet, will retry: {error}",
                    )
                    continue
            if place := self._looked_up[key]:
                self._queue(place, body_of(place.kind, status))

    def _queue(self, place: Place, body: dict[str, Any]) -> None:
        with self._changed:
            self._deliveries.setdefault(place.url, _Delivery(place, body)).body = body
            self._wake()

    def _waiting(self) -> list[tuple[tuple[_Delivery, dict[str, Any]], float]]:
        pending = [delivery for delivery in self._deliveries.values() if delivery.is_pending]
        return [((delivery, delivery.body), self._due(delivery)) for delivery in pending]

    def _due(self, delivery: _Delivery) -> float:
        next_at = delivery.next_at if self._deadline is None else 0.0
        return max(self._pauses[delivery.place.url].until, next_at)

    def _conclude(self, left: int) -> None:
        if left:
            self._warn(
                "late", "a commit did not get the latest status of the execution before the process ended"
            )

    def _disconnect(self) -> None:
        if self._http:
            self._http.close()

    def _place(self, state: ExecutionState, action: str, commit: str) -> Place | None:
        """The endpoint for the commit's status, or None if the commit's host gets no status."""
        found = next((each for each in git_places(self._declaration) if each.action.name == action), None)
        if found is None:
            return None
        place = _resolve(found, state)
        try:
            connection = self._connections.connection(place)
            repository = name_on_host(connection, place.repository)
        except (ActionFailed, ValueError):  # the action has failed for this reason, and read no commit
            return None
        kind, address = kind_of_host(connection), api_address(connection)
        if not (connection.token and connection.commit_statuses and kind and address):
            return None
        path = path_of(kind, repository, commit)
        name = self._connections.name(place) or "github"
        if not _fits_a_header(connection.token.get_secret_value()):
            self._warn(
                ("token", name),
                f"the token of connection {name!r} cannot be sent in an HTTP header: it has a space, a line "
                "break or another character that is not allowed; correct the token",
            )
            return None
        return Place(name, kind, address + path, _headers(kind, connection)) if path else None

    def _send(self, item: tuple[_Delivery, dict[str, Any]]) -> httpx.Response:
        delivery, body = item
        self._http = self._http or httpx.Client(follow_redirects=False)
        timeout = self._timeout(TIMEOUT_SECONDS)
        return self._http.post(delivery.place.url, json=body, headers=delivery.place.headers, timeout=timeout)

    def _take_answer(self, item: tuple[_Delivery, dict[str, Any]], answer: httpx.Response) -> None:
        delivery, body = item
        place = delivery.place
        if answer.is_success or _is_known_already(place.kind, answer):
            with self._changed:
                delivery.sent_body, delivery.next_at = body, time.monotonic() + _BETWEEN
                self._pauses[place.url].reset()
        elif answer.status_code >= 500 or _is_limited(answer):
            seconds = read_retry_after(answer.headers.get("retry-after", ""))
            self._retry_later(place, f"answered {answer.status_code}", seconds)
        else:
            with self._changed:
                delivery.is_refused = True
            self._warn(("refused", place.name), _refusal(place, answer))

    def _take_failure(self, item: tuple[_Delivery, dict[str, Any]], error: Exception) -> None:
        # The text of the error may quote the token.
        self._retry_later(item[0].place, f"does not answer ({type(error).__name__})", None)

    def _retry_later(self, place: Place, what: str, seconds: float | None) -> None:
        with self._changed:
            self._pauses[place.url].begin(seconds)
        host = httpx.URL(place.url).host
        self._warn(("away", host), f"{host} {what}; the status of its commits will be sent again")


def final_statuses(state: ExecutionState) -> list[StatusSender]:
    """A sender with the final status of an execution that no process runs any more; none if that is not possible.

    Args:
        state: the state of the execution, from all its facts.
    """
    try:
        sender = StatusSender(read_definition_block(state.pinned.definition_id).whole())
        sender.update(state)
    except CodePipelineError as error:  # losing a status must not keep the execution from ending
        _logger.warning(
            "execution %s: could not send the final status to its commits: %s", state.execution_id, error
        )
        return []
    return [sender]


def _resolve(place: GitPlace, state: ExecutionState) -> GitPlace:
    """The place with the variables replaced as they were for the action."""
    action = next(found for _, found in state.actions if found.name == place.action.name)
    started: ActionStarted | None = action.started
    known = started.resolved_configuration if started else {}
    replaced = {key: known[key] for key in _RESOLVED if key in known}
    configuration = {**place.action.configuration, **replaced}
    return git_place(place.action.model_copy(update={"configuration": configuration})) or place


def _fits_a_header(token: str) -> bool:
    # Checked here, because the HTTP library's own error would quote the token.
    return token.isascii() and token.isprintable() and " " not in token and bool(token)


def _headers(kind: HostKind, connection: GitConnection) -> dict[str, str]:
    assert connection.token, "checked by the caller"
    token = connection.token.get_secret_value()
    headers = {"User-Agent": "prefect-codepipeline", "Authorization": f"Bearer {token}"}
    if kind == "github":
        headers |= {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
    elif kind == "gitea":
        headers["Authorization"] = f"token {token}"
    elif kind == "bitbucket" and connection.username:  # an app password or API token needs its user name
        login = base64.b64encode(f"{connection.username}:{token}".encode()).decode()
        headers["Authorization"] = f"Basic {login}"
    return headers


def _is_known_already(kind: HostKind, answer: httpx.Response) -> bool:
    """Whether GitLab refused a state that the commit has already, because an earlier process sent it."""
    return kind == "gitlab" and answer.status_code == 400 and "Cannot transition status" in answer.text


def _is_limited(answer: httpx.Response) -> bool:
    if answer.status_code in (408, 429):
        return True
    limits = ("retry-after" in answer.headers, answer.headers.get("x-ratelimit-remaining") == "0")
    return answer.status_code == 403 and any(limits)


def _refusal(place: Place, answer: httpx.Response) -> str:
    code = answer.status_code
    host = httpx.URL(place.url).host
    if code in (401, 403, 404):
        return (
            f"{host} did not accept the status of a commit from connection {place.name!r} ({code}): "
            f"{_NEEDS[place.kind]}; correct the token, or set commit_statuses of the connection to false"
        )
    if answer.is_redirect:
        return (
            f"{host} redirected the status of a commit ({code}); redirects are not followed, to protect the token "
            f"of connection {place.name!r}: correct its url_template or api_url, or the repository's name"
        )
    said = _CONTROL.sub(" ", answer.text[:_ANSWER_LENGTH])
    return f"{host} refuses the status of a commit ({code}): {said}"
