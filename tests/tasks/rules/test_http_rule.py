"""Rule/Custom/Http/1 against a real server: status, JSON values, waiting, secrets, bad answers."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from waiting import until

from prefect_codepipeline.model.definition.conditions import RuleOutcome, RuleWait


class Service:
    """A service whose answer tests set: `status`, `body`, `location`, and how long each byte of it takes."""

    def __init__(self) -> None:
        self.status, self.body, self.location, self.seconds_per_byte = 200, b'{"status": "ok"}', "", 0.0
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                sent = self.rfile.read(int(self.headers.get("content-length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                service.requests.append((self.command, self.path, headers, sent))
                moved = service.location and self.path != "/moved"
                self.send_response(302 if moved else service.status)
                if moved:
                    self.send_header("Location", service.location)
                self.send_header("Content-Length", str(len(service.body)))
                self.end_headers()
                if self.command != "HEAD":
                    for index in range(len(service.body)) if service.seconds_per_byte else ():
                        self.wfile.write(service.body[index : index + 1])
                        time.sleep(service.seconds_per_byte)
                    if not service.seconds_per_byte:
                        self.wfile.write(service.body)

            do_HEAD = do_POST = do_GET  # noqa: N815

            def log_message(self, *arguments: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/health"
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def ask(asker: Any, service: Service) -> Any:
    return lambda configuration=None, **fields: asker.ask(
        "Http",
        {"Url": service.url, "AllowPrivateAddresses": "true", **(configuration or {})},
        owner="Custom",
        **fields,
    )


@pytest.mark.parametrize(
    ("status", "expected", "met"),
    [
        (200, None, True),
        (204, None, True),
        (404, None, False),
        (503, None, False),
        (404, "404", True),
        (200, "404", False),
        (301, "200-299, 301", True),
    ],
)
def test_the_status_decides(ask: Any, service: Service, status: int, expected: str | None, met: bool) -> None:
    service.status, service.body = status, b""

    answer = ask({"ExpectedStatus": expected} if expected else {})

    assert answer.status == ("Succeeded" if met else "Failed")
    assert answer.error_details is None
    assert f"GET {service.url} responded with {status}" in answer.summary
    assert answer.external_execution_url == service.url


@pytest.mark.parametrize(
    ("body", "configuration", "met", "summary"),
    [
        ('{"status": "ok"}', {"Query": "status", "Value": "ok"}, True, "status: 'ok' EQ 'ok' is true"),
        ('{"status": "bad"}', {"Query": "status", "Value": "ok"}, False, "'bad' EQ 'ok' is false"),
        ('{"a": {"b": [1, 2]}}', {"Query": "a.b[1]", "Value": "2"}, True, "'2' EQ '2' is true"),
        ('{"up": true}', {"Query": "up", "Value": "true"}, True, "'true' EQ 'true'"),
        ("{}", {"Query": "up", "Value": "null"}, True, "'null' EQ 'null'"),
        ('[{"n": 3}]', {"Query": "length(@)", "Value": "[1-9]", "Operator": "MATCHES"}, True, "MATCHES"),
        ('{"a": {"b": "é"}}', {"Query": "a", "Value": '{"b":"é"}'}, True, " is true"),
        ('{"v": "1.2"}', {"Query": "v", "Value": "1.3", "Operator": "NE"}, True, "NE"),
        ("<html>", {"Query": "up", "Value": "true"}, False, "but 'up' could not be evaluated"),
        ("3", {"Query": "length(@)", "Value": "3"}, False, "could not be evaluated"),
    ],
)
def test_a_value_of_the_json_answer_decides(
    ask: Any, service: Service, body: str, configuration: dict[str, str], met: bool, summary: str
) -> None:
    service.body = body.encode()

    answer = ask(configuration)

    assert answer.status == ("Succeeded" if met else "Failed")
    assert summary in answer.summary


def test_method_headers_and_body_are_sent(ask: Any, service: Service) -> None:
    ask(
        {
            "Method": "POST",
            "Headers": '{"X-Pipeline": "#{Source.BranchName}"}',
            "Body": "#{Source.BranchName}",
        }
    )

    ((method, path, headers, body),) = service.requests
    assert (method, path, headers["x-pipeline"], body) == ("POST", "/health", "main", b"main")


def test_it_asks_again_until_the_answer_is_as_expected(asker: Any, ask: Any, service: Service) -> None:
    service.status = 503

    wait = ask({"WaitTime": "5"})

    assert isinstance(wait, RuleWait)
    assert wait.at == asker.clock + timedelta(seconds=30)
    assert "503, not with 200-299; repeated until 2024-07-01 12:05 UTC" in wait.summary
    assert isinstance(asker.ask_again(), RuleWait)
    service.status = 200
    assert asker.ask_again().status == "Succeeded"


def test_when_the_wait_time_is_over_it_fails(asker: Any, ask: Any, service: Service) -> None:
    service.status = 503
    ask({"WaitTime": "1"})

    assert asker.last_answer(most=2).status == "Failed"
    assert len(service.requests) == 3


def test_no_answer_is_not_the_expected_one(asker: Any, service: Service) -> None:
    configuration = {"Url": "http://127.0.0.1:9/", "AllowPrivateAddresses": "true"}
    answer = asker.ask("Http", configuration, owner="Custom")

    assert answer.status == "Failed"
    assert not answer.errored
    assert "GET http://127.0.0.1:9/ got no response: " in answer.summary


def test_an_answer_that_trickles_is_left(ask: Any, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prefect_codepipeline.tasks.rules.http_rule.REQUEST_SECONDS", 0.5)
    service.seconds_per_byte = 0.2
    began = time.monotonic()

    answer = ask()

    assert "got no response: the response did not end in time" in answer.summary
    assert time.monotonic() - began < 3


def test_an_answer_that_does_not_end_is_an_error(ask: Any, service: Service) -> None:
    service.body = b"x" * (3 << 20)

    answer = ask()

    assert answer.errored
    assert "more than 1048576 bytes" in answer.summary


def test_a_cancelled_execution_does_not_wait_for_the_answer(asker: Any, ask: Any, service: Service) -> None:
    service.seconds_per_byte = 0.5
    answers: list[RuleOutcome] = []
    thread = threading.Thread(target=lambda: answers.append(ask()))
    thread.start()
    until(lambda: service.requests, 20)

    asker.cancellation.cancel()

    thread.join(5)
    assert answers[0].status == "Abandoned"


@pytest.mark.live
def test_the_authorization_comes_from_a_secret_block(
    prefect_server: str, asker: Any, ask: Any, service: Service
) -> None:
    from prefect.blocks.system import Secret

    Secret(value={"token": "Bearer s3cr3t"}).save("health", overwrite=True)

    answer = ask({"AuthorizationSecret": "health:token"})

    assert answer.status == "Succeeded", answer.summary
    assert [headers.get("authorization") for _, _, headers, _ in service.requests] == ["Bearer s3cr3t"]
    assert answer.resolved_configuration["AuthorizationSecret"] == "****"
    assert not any("s3cr3t" in text for text in [answer.summary, *asker.lines])


def test_a_redirect_to_another_host_carries_nothing_there(ask: Any, service: Service) -> None:
    service.location = f"http://localhost:{service.server.server_port}/moved"

    answer = ask({"Headers": '{"X-Token": "s3cr3t"}'})

    assert answer.status == "Failed"
    assert (
        "responded with 302 (redirects to another host are not followed), not with 200-299" in answer.summary
    )
    assert [path for _, path, _, _ in service.requests] == ["/health"]


def test_a_redirect_within_the_host_is_followed(ask: Any, service: Service) -> None:
    service.location = "/moved"

    answer = ask({"Headers": '{"X-Token": "s3cr3t"}', "Method": "POST", "Body": "x"})

    assert answer.status == "Succeeded", answer.summary
    sent = [(method, path, headers["x-token"], body) for method, path, headers, body in service.requests]
    assert sent == [("POST", "/health", "s3cr3t", b"x"), ("GET", "/moved", "s3cr3t", b"")]


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "192.0.0.192", "0x7f.1"]
)  # fmt: skip
def test_a_private_address_needs_a_permission(asker: Any, service: Service, host: str) -> None:
    url = f"http://{host}:{service.server.server_port}/health"

    answer = asker.ask("Http", {"Url": url}, owner="Custom")

    assert answer.errored
    assert f"GET {url} was not sent: it leads to the worker's own machine or network" in answer.summary
    assert "'AllowPrivateAddresses'" in answer.summary
    assert service.requests == []


def test_a_redirect_to_a_name_that_has_a_private_address_now_is_not_connected_to(
    asker: Any, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: the name had a public address when the URL was looked at first."""
    port = service.server.server_port
    answers = iter([["93.184.216.34"], ["127.0.0.1"]])
    real = socket.getaddrinfo

    def resolve(host: str, *arguments: Any, **options: Any) -> Any:
        if host != "rebinding.example":
            return real(host, *arguments, **options)
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in next(answers, ["127.0.0.1"])
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert socket.getaddrinfo("rebinding.example", port)[0][4][0] == "93.184.216.34"

    answer = asker.ask("Http", {"Url": f"http://rebinding.example:{port}/health"}, owner="Custom")

    assert "was not sent: it leads to the worker's own machine or network" in answer.summary
    assert service.requests == []


def test_a_header_that_cannot_be_sent_is_named_without_its_value(ask: Any, service: Service) -> None:
    answer = ask({"Headers": '{"X-Token": "s3cr3t\\nx"}'})

    assert answer.errored
    assert "the header 'X-Token' cannot be sent" in answer.summary
    assert "s3cr3t" not in answer.summary


@pytest.mark.live
def test_a_secret_that_does_not_exist_is_an_error(prefect_server: str, ask: Any) -> None:
    answer = ask({"AuthorizationSecret": "nope"})

    assert answer.errored
    assert "AuthorizationSecret: secret 'nope': there is no Secret block 'nope'" in answer.summary


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        ({"Url": "ftp://example.com"}, "it must start with http:// or https://"),
        ({"Method": "DELETE"}, "Method: Input should be 'GET', 'HEAD' or 'POST'"),
        ({"Headers": "X: y"}, "Headers: Value error, it is not JSON"),
        ({"Headers": '{"X": 1}'}, "a JSON object of texts"),
        ({"ExpectedStatus": "ok"}, "'ok' is not a status"),
        ({"Query": "a[", "Value": "1"}, "it is not a JMESPath"),
        ({"Query": "a"}, "'Query' and 'Value' need each other"),
        ({"Query": "a", "Value": "(", "Operator": "MATCHES"}, "is not a regular expression"),
    ],
)
def test_a_wrong_configuration_is_explained(
    ask: Any, service: Service, configuration: dict[str, str], message: str
) -> None:
    answer = ask(configuration)

    assert answer.errored
    assert message in answer.summary
    assert service.requests == []
