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
# Between two statuses of one commit: hosts limit the rate of requests.
_BETWEEN = 2.0
_BURST_SECONDS = 0.5
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_ANSWER_LENGTH = 200
_RESOLVED = ("ConnectionArn", "FullRepositoryId", "RepositoryName", "Owner", "Repo")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_NEEDS: dict[HostKind, str] = {
    "github": "a fine-grained token needs 'Commit statuses: Read and write', a classic one 'repo:status'",
    "gitlab": "a token needs the scope 'api' and the role Developer",
    "gitea": "a token needs 'write:repository'",
    "bitbucket": "a token needs the scope 'repository'",
}
# The flow run's logger, taken before the thread starts: a thread has no run context.
AnyLogger = logging.Logger | logging.LoggerAdapter[Any]
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
    """The status to send to one place, and the last status that was sent. Times are in `time.monotonic()` seconds."""

    place: Place
    body: dict[str, Any]
    sent_body: dict[str, Any] | None = None
    due: float = 0.0
    pause: float = _FIRST_PAUSE
    is_refused: bool = False

    @property
    def is_pending(self) -> bool:
        return not self.is_refused and self.body != self.sent_body


class CommitStatuses(Follower):
    """Sends the status of one execution to its commits, in a separate thread."""

    def __init__(self, execution: Execution) -> None:
        super().__init__(execution, "codepipeline-commits", _BURST_SECONDS)
        self._sender = StatusSender(execution.declaration, run_logger(_logger))

    def _follow(self) -> None:
        try:
            self._send_until_end()
        except Exception as error:  # losing a status must not fail the pipeline
            _logger.warning("commit statuses are no longer sent: %s", type(error).__name__)

    def _send_until_end(self) -> None:
        ended = False
        while not ended:
            self._changed.wait(self._sender.seconds_until_due())
            ended = self._ended.wait(self._pause_seconds)
            self._changed.clear()
            state = self._execution.state
            self._sender.update(state, status_of(state, run_url(state.execution_id)))
            if not ended:
                self._sender.send_due()
        self._sender.flush(FLUSH_SECONDS)


class StatusSender:
    """Sends commit statuses, and remembers the last status of each commit.

    Args:
        declaration: the definition of the pipeline, secrets included.
        logger: receives the warnings, one for each kind of problem and place.
    """

    def __init__(self, declaration: PipelineDeclaration, logger: AnyLogger | None = None) -> None:
        self._declaration = declaration
        self._logger = logger or _logger
        self._connections = Connections()
        self._looked_up: dict[tuple[str, str], Place | None] = {}
        self._deliveries: dict[str, _Delivery] = {}
        self._warned: set[tuple[str, str]] = set()
        self._http: httpx.Client | None = None

    def update(self, state: ExecutionState, status: CommitStatus) -> None:
        """Set the status to send for each commit that the execution has read so far."""
        for action, commit in commits_to_report(state).items():
            key = (action, commit)
            if key not in self._looked_up:
                try:
                    self._looked_up[key] = self._place(state, action, commit)
                except CodePipelineError as error:  # tried again with the next change
                    self._warn(
                        "lookup", action, f"the commit of {action!r} has no status yet, will retry: {error}"
                    )
                    continue
            if place := self._looked_up[key]:
                body = body_of(place.kind, status)
                delivery = self._deliveries.setdefault(place.url, _Delivery(place, body))
                delivery.body = body

    def seconds_until_due(self) -> float | None:
        """Seconds until the next status is due, or None if no status is pending."""
        due = [delivery.due for delivery in self._deliveries.values() if delivery.is_pending]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def send_due(self) -> None:
        """Send the statuses that are due."""
        for delivery in self._deliveries.values():
            if delivery.is_pending and delivery.due <= time.monotonic():
                self._send(delivery, TIMEOUT_SECONDS)

    def flush(self, seconds: float) -> None:
        """Send the pending statuses, for at most this many seconds."""
        deadline = time.monotonic() + seconds
        for delivery in self._deliveries.values():
            delivery.due, delivery.pause = 0.0, min(delivery.pause, _FIRST_PAUSE)
        while (wait := self.seconds_until_due()) is not None:
            if time.monotonic() + wait >= deadline:
                self._warn(
                    "late",
                    "",
                    "a commit did not get the latest status of the execution before the process ended",
                )
                break
            time.sleep(wait)
            for delivery in self._deliveries.values():
                left = deadline - time.monotonic()
                if delivery.is_pending and delivery.due <= time.monotonic() and left > 0:
                    self._send(delivery, min(TIMEOUT_SECONDS, left))
        if self._http:
            self._http.close()
            self._http = None

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
                "token",
                name,
                f"the token of connection {name!r} cannot be sent in an HTTP header: it has a space, a line "
                "break or another character that is not allowed; correct the token",
            )
            return None
        return Place(name, kind, address + path, _headers(kind, connection)) if path else None

    def _send(self, delivery: _Delivery, seconds: float) -> None:
        body, place = delivery.body, delivery.place
        self._http = self._http or httpx.Client(follow_redirects=False)
        try:
            answer = self._http.post(place.url, json=body, headers=place.headers, timeout=seconds)
        except Exception as error:  # the text of the error may quote the token
            self._retry_later(delivery, f"does not answer ({type(error).__name__})", None)
            return
        if answer.is_success or _is_known_already(place.kind, answer):
            delivery.sent_body, delivery.pause = body, _FIRST_PAUSE
            delivery.due = time.monotonic() + _BETWEEN
        elif answer.status_code >= 500 or _is_limited(answer):
            self._retry_later(delivery, f"answered {answer.status_code}", _retry_after(answer))
        else:
            delivery.is_refused = True
            self._warn("refused", place.name, _refusal(place, answer))

    def _retry_later(self, delivery: _Delivery, what: str, seconds: float | None) -> None:
        pause, delivery.pause = delivery.pause, min(2 * delivery.pause, _LONGEST_PAUSE)
        delivery.due = time.monotonic() + (pause if seconds is None else seconds)
        host = httpx.URL(delivery.place.url).host
        self._warn("away", host, f"{host} {what}; the status of its commits will be sent again")

    def _warn(self, kind: str, subject: str, text: str) -> None:
        if (kind, subject) not in self._warned:
            self._logger.warning("%s", text)
        self._warned.add((kind, subject))


def send_final_statuses(state: ExecutionState) -> None:
    """Send the final status of an execution that no process runs any more. Takes a few seconds at most.

    Args:
        state: the state of the execution, from all its facts.
    """
    try:
        sender = StatusSender(read_definition_block(state.pinned.definition_id).whole())
        sender.update(state, status_of(state, run_url(state.execution_id)))
        sender.flush(FLUSH_SECONDS)
    except CodePipelineError as error:  # losing a status must not keep the execution from ending
        _logger.warning(
            "execution %s: could not send the final status to its commits: %s", state.execution_id, error
        )


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


def _retry_after(answer: httpx.Response) -> float | None:
    """The seconds until the host accepts the next request."""
    text = answer.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() else None


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
    text = _CONTROL.sub(" ", answer.text[:_ANSWER_LENGTH])
    return f"{host} refused the status of a commit ({code}): {text}"
