"""URLs are told events signed, in order and at least once; nothing private is reached, and nobody waits."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import SecretStr, ValidationError

from prefect_codepipeline.blocks.event_webhook import EventWebhook, key_of
from prefect_codepipeline.engine.executions import pause
from prefect_codepipeline.engine.notifications.event_webhooks import (
    EventSender,
    load_event_webhook,
    signed,
)
from prefect_codepipeline.engine.notifications.outbox import close_all
from prefect_codepipeline.errors import MissingBlock
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.record.events import StateChange, events_of
from prefect_codepipeline.model.record.facts import NotificationSent, parse_fact
from prefect_codepipeline.model.record.notification_rules import NotificationRule
from prefect_codepipeline.prefect_api.client import call

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
KIND = {"category": "Build", "owner": "Custom", "provider": "P", "version": "1"}
DECLARATION = PipelineDeclaration.model_validate(
    {
        "name": "shop",
        "roleArn": "arn:aws:iam::111122223333:role/pipeline",
        "artifactStore": {"type": "S3", "location": "bucket"},
        "stages": [
            {"name": "Source", "actions": [{"name": "Src", "actionTypeId": {**KIND, "category": "Source"}}]},
            {"name": "Prod", "actions": [{"name": "Ship", "actionTypeId": KIND}]},
        ],
    }
)
SHIP = {"stage": "Prod", "action": "Ship", "attempt": 1, "action_execution_id": "ship"}
FACTS = [
    {"kind": "execution-pinned", "pipeline_name": "shop", "pipeline_version": 1, "definition_id": "d", "variables": {},
     "source_revisions": {}, "trigger_type": "StartPipelineExecution", "trigger_detail": "me"},
    {"kind": "stage-entered", "stage": "Prod", "attempt": 1},
    {"kind": "action-started", **SHIP},
    {"kind": "action-finished", **SHIP, "status": "Succeeded"},
    {"kind": "stage-finished", "stage": "Prod", "attempt": 1, "status": "Succeeded"},
    {"kind": "execution-finished", "epoch": 0, "status": "Succeeded", "summary": "done"},
]  # fmt: skip
EVENTS = events_of(
    "x1",
    DECLARATION,
    [parse_fact({"at": NOW + timedelta(seconds=n), **fact}) for n, fact in enumerate(FACTS)],
)
ALL = NotificationRule(event_types=("*",), event_webhook="audit")
PLACE = ("111122223333", "eu-west-1")


@pytest.fixture
def webhook(event_receiver: Any) -> EventWebhook:
    return EventWebhook(
        url=event_receiver.url, secret=event_receiver.SECRET, allows_private_addresses=True, timeout=5
    )


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pause, "FIRST_SECONDS", 0.05)


@pytest.fixture
def sender(webhook: EventWebhook) -> Callable[..., EventSender]:
    def make(
        facts: Any = (), write: Any = lambda fact: None, rule: NotificationRule = ALL, **changes: Any
    ) -> EventSender:
        changed = webhook.model_copy(update=changes)
        return EventSender("audit", changed, [rule], PLACE, facts, write, logging.getLogger("test"))

    return make


def tell(sender: EventSender, events: list[StateChange], is_final: bool = True, seconds: float = 8) -> None:
    sender.queue(events, is_final)
    close_all([sender], seconds)


def ids(events: list[StateChange]) -> list[str]:
    return [str(event.id) for event in events]


def told(receiver: Any) -> list[str]:
    return [event["id"] for event in receiver.events]


def test_events_arrive_in_order_as_eventbridge_writes_them_and_signed(
    event_receiver: Any, sender: Any
) -> None:
    one = sender()
    for number in range(len(EVENTS)):
        one.queue(EVENTS[: number + 1])
    tell(one, EVENTS)

    assert event_receiver.events == [event.to_event_bridge(*PLACE) for event in EVENTS]
    assert event_receiver.problems == []
    assert event_receiver.requests[0].path == "/hook"
    assert event_receiver.requests[0].headers["host"] == f"127.0.0.1:{event_receiver.port}"


def test_only_what_the_rules_name_is_sent(event_receiver: Any, sender: Any) -> None:
    rule = NotificationRule(event_types=("codepipeline-pipeline-stage-execution-*",), event_webhook="audit")
    tell(sender(rule=rule), EVENTS)

    assert [event["detail-type"] for event in event_receiver.events] == [
        "CodePipeline Stage Execution State Change"
    ] * 2


def test_the_signature_is_that_of_standard_webhooks() -> None:
    # The example of https://github.com/standard-webhooks/standard-webhooks, made with its own library.
    secret = SecretStr("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'

    assert signed(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body) == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@pytest.mark.parametrize(
    ("status", "headers"), [(500, {}), (503, {"retry-after": "0"}), (429, {"retry-after": "0"}), (408, {})]
)
def test_what_passes_is_tried_again_with_the_same_id_and_in_order(
    event_receiver: Any, sender: Any, status: int, headers: dict[str, str]
) -> None:
    event_receiver.answers = [(204, {}), (status, headers), (status, headers)]
    tell(sender(), EVENTS)

    assert told(event_receiver) == ids(EVENTS)
    assert [request.event["id"] for request in event_receiver.requests[1:4]] == [str(EVENTS[1].id)] * 3
    assert event_receiver.problems == []


def test_the_pauses_grow(event_receiver: Any, sender: Any) -> None:
    event_receiver.answers = [(500, {})] * 5
    one = sender()
    one.queue(EVENTS[:1])
    until = time.monotonic() + 8
    while not event_receiver.events and time.monotonic() < until:
        time.sleep(0.02)
    close_all([one])

    times = [request.at for request in event_receiver.requests]
    assert len(times) == 6
    assert times[5] - times[4] > 2 * (times[1] - times[0])
    assert times[5] - times[0] >= 31 * 0.05 / 2


def test_retry_after_is_waited(event_receiver: Any, sender: Any, caplog: Any) -> None:
    event_receiver.answers = [(429, {"retry-after": "1"})]
    tell(sender(), EVENTS[:1])

    first, second = event_receiver.requests
    assert second.at - first.at >= 1


def test_a_refusal_is_given_up_with_one_warning_that_holds_no_secret(
    event_receiver: Any, sender: Any, caplog: Any
) -> None:
    event_receiver.answers = [(403, {}), (403, {})]
    tell(sender(url=f"{event_receiver.url}?token=planted-in-url"), EVENTS)

    assert told(event_receiver) == ids(EVENTS)[2:]
    [warning] = [record.getMessage() for record in caplog.records]
    assert warning == "EventWebhook 'audit': the receiver answered 403; refused events are skipped"


def test_gone_means_that_nothing_more_is_sent(event_receiver: Any, sender: Any, caplog: Any) -> None:
    event_receiver.answers = [(410, {})]
    tell(sender(), EVENTS)

    assert len(event_receiver.requests) == 1
    assert "410" in caplog.text


def test_redirects_are_not_followed(event_receiver: Any, sender: Any, caplog: Any) -> None:
    event_receiver.answers = [(307, {"location": f"http://localhost:{event_receiver.port}/elsewhere"})] * len(
        EVENTS
    )
    tell(sender(), EVENTS)

    assert {request.path for request in event_receiver.requests} == {"/hook"}
    assert "redirects are not followed" in caplog.text


def test_a_receiver_that_is_away_gets_its_events_when_it_is_back(event_receiver: Any, sender: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    one = sender(url=f"http://127.0.0.1:{port}/")
    one.queue(EVENTS)
    time.sleep(0.1)
    one._poster._url = event_receiver.url
    tell(one, EVENTS)

    assert told(event_receiver) == ids(EVENTS)


def test_a_slow_receiver_holds_nobody_longer_than_the_flush(
    event_receiver: Any, sender: Any, caplog: Any
) -> None:
    event_receiver.delay = 10
    one = sender()
    began = time.monotonic()
    one.queue(EVENTS, is_final=True)
    assert time.monotonic() - began < 5

    close_all([one], seconds=0.5)

    assert time.monotonic() - began < 5
    assert "6 events could not be sent in time" in caplog.text


def test_a_request_that_begins_during_the_flush_does_not_outlive_it(event_receiver: Any, sender: Any) -> None:
    event_receiver.delay = 10
    one = sender()
    one.end_by(time.monotonic() + 0.5)
    one.queue(EVENTS, is_final=True)

    one._thread.join(5)

    assert not one._thread.is_alive()


def test_what_is_left_when_a_process_leaves_the_next_one_sends(
    event_receiver: Any, sender: Any, caplog: Any
) -> None:
    record: list[NotificationSent] = []
    tell(sender(write=record.append), EVENTS[:2], is_final=False)
    event_receiver.answers = [(204, {}), (503, {"retry-after": "60"})]
    tell(sender(record, record.append), EVENTS[:4], is_final=False)
    assert told(event_receiver) == ids(EVENTS[:3])
    tell(sender(record, record.append), EVENTS)

    assert told(event_receiver) == ids(EVENTS)
    assert [fact.message_id for fact in record] == [str(EVENTS[n].id) for n in (1, 2, 5)]
    assert len({fact.key for fact in record}) == 3
    assert "in time" not in caplog.text


def test_after_a_kill_the_next_process_sends_again_with_the_same_ids(
    event_receiver: Any, sender: Any
) -> None:
    record: list[NotificationSent] = []
    killed = sender(write=record.append)
    killed.queue(EVENTS[:3])
    until = time.monotonic() + 5
    while len(event_receiver.events) < 3 and time.monotonic() < until:
        time.sleep(0.02)

    tell(sender(record, record.append), EVENTS)

    assert told(event_receiver) == ids(EVENTS[:3]) + ids(EVENTS)
    close_all([killed])


def test_nothing_private_is_reached_unless_that_is_allowed(
    event_receiver: Any, sender: Any, caplog: Any
) -> None:
    for url in (f"http://127.0.0.1:{event_receiver.port}/", f"http://localhost:{event_receiver.port}/",
                f"http://[::ffff:127.0.0.1]:{event_receiver.port}/", f"http://2130706433:{event_receiver.port}/",
                f"http://0x7f.1:{event_receiver.port}/", f"http://0:{event_receiver.port}/"):  # fmt: skip
        caplog.clear()
        tell(sender(url=url, allows_private_addresses=False), EVENTS)

        assert event_receiver.requests == []
        assert "leads to a private address" in caplog.text, url


def test_a_name_is_looked_up_once_and_the_address_that_was_checked_is_reached(
    event_receiver: Any, sender: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = socket.getaddrinfo

    def rebinding(host: str, *rest: Any, **more: Any) -> Any:
        if host != "rebound.example":
            assert host == "127.0.0.1"
            return real(host, *rest, **more)
        asked.append(host)
        return real("127.0.0.1" if len(asked) == 1 else "192.0.2.1", *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    tell(sender(url=f"http://rebound.example:{event_receiver.port}/"), EVENTS[:2])

    assert told(event_receiver) == ids(EVENTS[:2])
    assert asked == ["rebound.example"]
    assert event_receiver.requests[0].headers["host"] == f"rebound.example:{event_receiver.port}"


@pytest.mark.parametrize(("name", "is_told"), [("good.example", True), ("other.example", False)])
def test_tls_checks_the_name_and_not_the_address(
    event_receiver: Any, sender: Any, monkeypatch: Any, tmp_path: Path, caplog: Any, name: str, is_told: bool
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_certificate(tmp_path, "good.example"))
    event_receiver.serve_tls(context)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "good.example.pem"))
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **more: real("127.0.0.1", *rest, **more))

    tell(sender(url=f"https://{name}:{event_receiver.port}/"), EVENTS[:1], seconds=2)

    assert bool(event_receiver.events) == is_told
    assert ("certificate" in caplog.text) != is_told


def _certificate(folder: Path, name: str) -> Path:
    """A certificate that signs itself, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path = folder / f"{name}.pem"
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, *form)
    )
    return path


def test_a_long_answer_is_not_read(webhook: EventWebhook, sender: Any) -> None:
    sent = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_answer_without_end, args=(server, sent), daemon=True).start()
        began = time.monotonic()
        tell(sender(url=f"http://127.0.0.1:{server.getsockname()[1]}/"), EVENTS[:1])

    assert time.monotonic() - began < 2
    assert sent.wait(5), "the connection was not closed"


def _answer_without_end(server: socket.socket, broken: threading.Event) -> None:
    connection, _ = server.accept()
    connection.recv(65536)
    try:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65536)
    except OSError:
        broken.set()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"url": "http://example.com/"}, "the URL must be https"),
        ({"url": "ftp://example.com/"}, "url"),
        ({"url": "https://u:planted@example.com/"}, "the URL must not contain a user name"),
        ({"url": "https://example.com/", "secret": "planted secret"}, "base64"),
        ({"url": "https://example.com/", "secret": "cGxhbnRlZA=="}, "24 to 64 bytes"),
        ({"url": "https://example.com/", "timeout": 0}, "timeout"),
    ],
)
def test_what_is_no_webhook_is_refused_without_quoting_secrets(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said) as refused:
        EventWebhook(**fields)

    assert "planted" not in str(refused.value)


def test_a_secret_is_made_where_none_is_given() -> None:
    first, second = (EventWebhook(url="https://example.com/") for _ in range(2))

    assert len(key_of(first.secret)) == 32
    assert first.secret != second.secret
    assert first.secret.get_secret_value() not in repr(first)


def test_a_block_that_is_missing_or_damaged_says_how_to_make_it(prefect_server: str) -> None:
    with pytest.raises(MissingBlock, match=r"codepipeline event-webhook add nowhere --url URL$"):
        load_event_webhook("nowhere")

    EventWebhook(url="https://example.com/").save("damaged-webhook")
    path = "/block_types/slug/event-webhook/block_documents/name/damaged-webhook"
    document = call("GET", path)[1]
    data = {"url": "https://example.com/", "secret": "planted"}
    call("PATCH", f"/block_documents/{document['id']}", {"data": data, "merge_existing_data": False})
    expected = (
        r"^EventWebhook block 'damaged-webhook' cannot be used: secret: .*; correct it in Prefect's UI, or replace it "
        r"with: codepipeline event-webhook add damaged-webhook --url URL$"
    )
    with pytest.raises(MissingBlock, match=expected) as refused:
        load_event_webhook("damaged-webhook")
    assert "planted" not in str(refused.value)
