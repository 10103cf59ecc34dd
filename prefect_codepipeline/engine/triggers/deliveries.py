"""Deliveries of git hosts to webhooks: check the sender, read the events, start the executions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from pydantic import SecretStr

from prefect_codepipeline.actions.git.changed_files import Look, complete
from prefect_codepipeline.actions.git.places import Connections
from prefect_codepipeline.actions.git.source import find_named_connection
from prefect_codepipeline.blocks.git_connection import GitConnection, kind_of_host
from prefect_codepipeline.blocks.pipeline_webhook import PipelineWebhook
from prefect_codepipeline.engine.executions.definitions import find_newest_version, newest_version
from prefect_codepipeline.engine.executions.record import utc_now
from prefect_codepipeline.engine.operations.projection import deployed_definitions
from prefect_codepipeline.engine.operations.starting import start_pipeline_execution
from prefect_codepipeline.engine.triggers.pipeline_webhooks import find_webhook, target_action
from prefect_codepipeline.engine.triggers.triggering import MOST_TEXT, REFUSALS, event_result, trigger
from prefect_codepipeline.engine.triggers.webhook_filters import why_not
from prefect_codepipeline.engine.triggers.webhook_inbox import DAYS, first_with_content, result_of
from prefect_codepipeline.engine.triggers.webhook_signatures import check_sender, check_webhook
from prefect_codepipeline.engine.triggers.webhook_states import note_error, note_triggered
from prefect_codepipeline.errors import ActionFailed, MissingBlock, WebhookRefused
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.payloads import Delivery, PayloadError, host_of, read_payload
from prefect_codepipeline.model.stored.definition import StoredDefinition
from prefect_codepipeline.model.triggers.git_event import GitEvent, GitHost
from prefect_codepipeline.model.triggers.matching import CODECOMMIT, GitPlace, git_places
from prefect_codepipeline.model.triggers.webhook_delivery import (
    MOST_RESULTS,
    EventResult,
    FinishedDelivery,
    TakenDelivery,
    delivery_key,
    shortened,
)

# A host sends one event to all endpoints of a repository within this time.
SPREAD = timedelta(minutes=10)
_FULL_ID = 40
_READ_SECONDS = 600.0


@dataclass(frozen=True)
class Endpoint:
    """The connections whose hosts may send to `/webhooks/<name>`: one connection, or those of a pipeline's sources."""

    name: str
    connections: Mapping[str, GitConnection]


@dataclass
class Definitions:
    """The definitions of deployed pipelines. A version never changes, so each is read only once."""

    known: dict[tuple[str, int], StoredDefinition] = field(default_factory=dict)

    def read(self) -> list[StoredDefinition]:
        """The current definition of every deployed pipeline."""
        found = deployed_definitions(self.known)
        self.known = {(each.pipeline_name, each.version): each for each in found}
        return found


def find_endpoint(name: str) -> Endpoint | None:
    """The endpoint of the connection with that name, else of the pipeline; None if no host may send to it.

    Raises:
        PrefectUnavailable: Prefect does not respond.
    """
    try:
        found = {name: find_named_connection(name)}
    except MissingBlock:
        found = _connections_of(name)
    except ActionFailed:  # the block is invalid
        return None
    found = {name: connection for name, connection in found.items() if connection.webhook_secret}
    return Endpoint(name, found) if found else None


def read_delivery(
    endpoint: Endpoint, headers: Mapping[str, str], body: bytes, at: datetime
) -> TakenDelivery | Delivery:
    """The delivery in a request; a `Delivery` without events gives the reason why there is nothing to do.

    Raises:
        WebhookRefused: the sender does not know the secret.
        PayloadError: the body is not a valid payload of that host.
    """
    host, connections = _check_request(endpoint, headers, body)
    received = read_payload(headers, body, host)
    if not received.events:
        return received
    delivery = received.events[0].delivery[:255]
    # All these connections have the same secret: the sender knows it.
    secret = (endpoint.connections[connections[0]].webhook_secret or SecretStr("")).get_secret_value()
    return TakenDelivery(
        key=delivery_key(secret, delivery, body),
        at=at,
        endpoint=endpoint.name,
        connections=connections,
        delivery=delivery,
        events=tuple(shortened(event) for event in received.events),
        # The signature does not cover the host's delivery id. With the body alone, a replayed request has the same
        # token and starts nothing.
        token=delivery_key(secret, "", body),
    )


def read_webhook(
    webhook: PipelineWebhook, source_address: str, headers: Mapping[str, str], body: bytes, at: datetime
) -> TakenDelivery | str:
    """The delivery in a request to a V1 webhook, or the reason why the filters of the webhook ignore the request.

    Raises:
        WebhookRefused: the authentication of the webhook refused the request.
        PayloadError: the body is not JSON.
        CodePipelineError: the webhook cannot be used; its pipeline or action may have been deleted.
    """
    definition = webhook.whole()
    check_webhook(definition, source_address, headers, body)
    _, pipeline = newest_version(definition.target_pipeline)
    action = target_action(pipeline.masked(), definition)
    if ignored := why_not(definition.filters, body, action.configuration):
        return ignored
    key = delivery_key(f"V1 webhook {definition.name}", "", body)
    return TakenDelivery(
        key=key,
        token=key,
        at=at,
        endpoint=f"{definition.target_pipeline}/{definition.target_action}",
        connections=(),
        events=_pushes_to(pipeline.masked(), action.name, headers, body),
        webhook=definition.name,
    )


def process_delivery(taken: TakenDelivery, definitions: Definitions) -> FinishedDelivery:
    """Start the executions for a delivery; processing it twice starts nothing twice.

    Raises:
        ActionFailed: the changed files could not be read from git.
        PrefectUnavailable: the API does not answer; the delivery can be processed again.
    """
    results = [_start(taken)] if taken.webhook else _trigger_all(taken, definitions)
    return _finish(taken, results)


def why_repeated(taken: TakenDelivery) -> str:
    """Why a delivery is one that was overheard and is sent again, as a sentence; empty if it is not.

    The signature covers the content alone: neither the delivery's id nor the endpoint. A host sends the same content to
    all endpoints of a repository at the same time; what comes later than that was sent before, under any id.

    Raises:
        PrefectUnavailable: the API does not answer.
    """
    if taken.webhook:  # starts one pipeline, and the same content never starts it twice
        return ""
    first = first_with_content(taken)
    if taken.at - first.at <= SPREAD:
        return ""
    result = result_of(first)
    is_in_work = result is None and taken.at - first.at <= timedelta(days=DAYS)
    if is_in_work or (result and result.is_refused and first.endpoint == taken.endpoint):
        return ""
    return (
        f"the same content was received at {first.at:%Y-%m-%d %H:%M} UTC by /webhooks/{first.endpoint}; it starts "
        "nothing once more"
    )


def skip_delivery(taken: TakenDelivery, reason: str) -> FinishedDelivery:
    """The result of a delivery that starts nothing."""
    return _finish(taken, [EventResult(event=str(each), reason=reason) for each in taken.events])


def abandon_delivery(taken: TakenDelivery, reason: str) -> FinishedDelivery:
    """The result of a delivery that could not be processed."""
    events = [str(event) for event in taken.events] or [f"webhook {taken.webhook}"]
    return _finish(
        taken, [EventResult(event=each, pipeline="", refusal=reason[:MOST_TEXT]) for each in events]
    )


def note_result(taken: TakenDelivery, done: FinishedDelivery) -> None:
    """Keep the result of a request to a V1 webhook for ListWebhooks."""
    webhook = find_webhook(taken.webhook) if taken.webhook else None
    if webhook is None:
        return
    for result in done.results:
        if result.execution_id:
            note_triggered(webhook.url_token, taken.at)
        elif result.refusal:
            note_error(webhook.url_token, "409", result.refusal)


def _finish(taken: TakenDelivery, results: list[EventResult]) -> FinishedDelivery:
    return FinishedDelivery(
        key=taken.key,
        at=taken.at,
        finished_at=utc_now(),
        endpoint=taken.endpoint,
        delivery=taken.delivery,
        results=tuple(results[:MOST_RESULTS]),
    )


def _start(taken: TakenDelivery) -> EventResult:
    """Start the pipeline of a V1 webhook, with the pushed commit if the body has one."""
    pipeline, _, action = taken.endpoint.rpartition("/")
    event = taken.events[0] if taken.events else None
    what = f"webhook {taken.webhook}" + (f", {event}" if event else "")
    revisions = {action: event.commit} if event else {}
    token = f"webhook-{taken.token}"
    try:
        execution_id = start_pipeline_execution(pipeline, {}, revisions, taken.webhook, token, "Webhook")
    except REFUSALS as error:
        return EventResult(event=what, pipeline=pipeline, refusal=str(error)[:MOST_TEXT])
    return EventResult(event=what, pipeline=pipeline, execution_id=execution_id)


def _pushes_to(
    pipeline: PipelineDeclaration, action: str, headers: Mapping[str, str], body: bytes
) -> tuple[GitEvent, ...]:
    """The push to the action's own branch in a body; empty for any other event."""
    places = [place for place in git_places(pipeline) if place.action.name == action]
    try:
        events = read_payload(headers, body).events
    except PayloadError:
        return ()
    found = [
        shortened(event)
        for event in events
        for place in places
        if event.branch == place.branch and _is_of(place, event) and len(event.commit) == _FULL_ID
    ]
    return tuple(found[:1])


def _trigger_all(taken: TakenDelivery, definitions: Definitions) -> list[EventResult]:
    known = Connections()
    results: list[EventResult] = []
    readers = list(_readers(taken, definitions.read(), known))
    for number, event in enumerate(taken.events):
        token = f"webhook-{taken.token}-{number}"
        found = [_trigger(reader, event, token, known) for reader in readers if reader.of(event)]
        results += found or [EventResult(event=str(event))]
    return results


@dataclass(frozen=True)
class _Reader:
    """A pipeline that reads repositories through the connections of a delivery."""

    definition: StoredDefinition
    places: tuple[GitPlace, ...]

    def of(self, event: GitEvent) -> list[GitPlace]:
        """The source actions that read the event's repository."""
        return [place for place in self.places if _is_of(place, event)]


def _is_of(place: GitPlace, event: GitEvent) -> bool:
    # CodeCommit's names have no owner. On all hosts, repository names are not case-sensitive.
    found = event.repository.casefold()
    return place.repository.casefold() == (
        found.rpartition("/")[2] if place.provider == CODECOMMIT else found
    )


def _readers(
    taken: TakenDelivery, definitions: list[StoredDefinition], known: Connections
) -> Iterator[_Reader]:
    for definition in definitions:
        # The endpoint of a pipeline starts only that pipeline.
        if taken.endpoint not in taken.connections and definition.pipeline_name != taken.endpoint:
            continue
        places = [place for place in git_places(definition.whole()) if known.name(place) in taken.connections]
        if places:
            yield _Reader(definition, tuple(places))


def _trigger(reader: _Reader, event: GitEvent, token: str, known: Connections) -> EventResult:
    places = reader.of(event)

    def complete_event(event: GitEvent) -> GitEvent:
        access = known.access(places[0])
        return complete(event, access, Look.at(access, _READ_SECONDS))

    done = trigger(
        reader.definition, event, "webhook", token, complete_event, [place.action.name for place in places]
    )
    return event_result(done, token)


def _connections_of(pipeline: str) -> dict[str, GitConnection]:
    """The connections of a pipeline's sources, by block name."""
    found = find_newest_version(pipeline)
    if found is None:
        return {}
    known = Connections()
    names = {known.name(place) for place in git_places(found[1].masked())} - {None}
    return {name: find_named_connection(name) for name in sorted(filter(None, names))}


def _check_request(
    endpoint: Endpoint, headers: Mapping[str, str], body: bytes
) -> tuple[GitHost, tuple[str, ...]]:
    """The host that sent a request, and the connections whose secret the sender knows."""
    refused: WebhookRefused | None = None
    found: dict[GitHost, list[str]] = {}
    for name, connection in endpoint.connections.items():
        host = _host_of(connection, headers)
        try:
            check_sender(host, connection.webhook_secret or SecretStr(""), headers, body)
            found.setdefault(host, []).append(name)
        except WebhookRefused as error:
            refused = error
    if not found:
        raise refused or WebhookRefused("no sender is allowed at this address")
    host, names = next(iter(found.items()))
    return host, tuple(names)


def _host_of(connection: GitConnection, headers: Mapping[str, str]) -> GitHost:
    """The host whose signature scheme applies: the connection's, or the plain one for a sender that names no host."""
    claimed = host_of(headers)
    return claimed if claimed == "plain" else kind_of_host(connection) or claimed
