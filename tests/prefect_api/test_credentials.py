"""What a refusal by Prefect's API, or by a proxy before it, says: the variable to set or to correct, and no secret."""

from __future__ import annotations

import json
import os
import subprocess
from functools import partial
from pathlib import Path

import httpx
import pytest
from commands import MAIN, run_command, run_python
from guarding_proxy import GuardingProxy, make_certificate
from prefect.settings import PREFECT_API_URL, temporary_settings

from prefect_codepipeline.errors import NotLetIn
from prefect_codepipeline.prefect_api.client import call
from prefect_codepipeline.prefect_api.connection import http_client
from prefect_codepipeline.prefect_api.credentials import refusal
from prefect_codepipeline.prefect_api.settings import ApiSettings

WORKER = (
    "import sys; from prefect.cli import app\n"
    "sys.argv[1:] = ['worker', 'start', '--pool', 'codepipeline', '--type', 'codepipeline']; app()"
)
HELLO = str(Path(__file__).parents[2] / "examples" / "hello" / "pipeline.json")
URL = "https://prefect.example.com/api"
OF_PREFECT = '{"exception_message":"Unauthorized"}'
AUTH, KEY = ApiSettings(auth_string="ana:secret-1"), ApiSettings(key="secret-2")
HEADER = ApiSettings(custom_headers=(("X-Door", "secret-3"),))
ADDED = ApiSettings(custom_headers=(("Authorization", "Bearer secret-2"),), key="secret-2")
OWN = ApiSettings(custom_headers=(("authorization", "secret-4"),), key="secret-2")


def said(settings: ApiSettings, status: int = 401, scheme: str = "", text: str = "no") -> str | None:
    headers = {"WWW-Authenticate": f'{scheme} realm="x"'} if scheme else {}
    return refusal(httpx.Response(status, headers=headers, text=text), settings, URL)


@pytest.mark.parametrize(
    ("settings", "answer", "expected"),
    [
        (ApiSettings(), {"text": OF_PREFECT}, "set PREFECT_API_AUTH_STRING (USER:PASSWORD of the server)"),
        (AUTH, {"text": OF_PREFECT}, "PREFECT_API_AUTH_STRING is not accepted; correct it ("),
        (KEY, {"text": OF_PREFECT}, "PREFECT_API_KEY is sent, but PREFECT_API_AUTH_STRING ("),
        (ApiSettings(), {"scheme": "Bearer"}, "set PREFECT_API_KEY (a key of Prefect Cloud, or of the proxy"),
        (KEY, {"scheme": "Bearer"}, "PREFECT_API_KEY is not accepted; correct it ("),
        (ADDED, {"scheme": "Bearer"}, "PREFECT_API_KEY is not accepted; correct it ("),
        (AUTH, {"scheme": "Bearer"}, "PREFECT_API_AUTH_STRING is sent, but PREFECT_API_KEY ("),
        (HEADER, {"scheme": "Bearer"}, "PREFECT_CLIENT_CUSTOM_HEADERS is not accepted; correct its Authorization"),
        (OWN, {"scheme": "Bearer"}, "PREFECT_CLIENT_CUSTOM_HEADERS is not accepted; correct its Authorization"),
        (ApiSettings(is_cloud=True), {}, "set PREFECT_API_KEY (a key of Prefect Cloud"),
        (ApiSettings(is_cloud=True, key="k"), {"status": 403, "text": '{"detail":"x"}'}, "PREFECT_API_KEY is not"),
        (ApiSettings(), {"status": 403}, "asks for: PREFECT_API_AUTH_STRING (USER:PASSWORD of the server) or PREFECT_API_KEY ("),
        (HEADER, {"status": 403}, "PREFECT_CLIENT_CUSTOM_HEADERS is not accepted; correct it, or set what is asked for"),
        (ApiSettings(key="k", custom_headers=HEADER.custom_headers), {}, "PREFECT_API_KEY and PREFECT_CLIENT_CUSTOM_HEADERS are not"),
    ],
)  # fmt: skip
def test_the_variable_to_set_or_to_correct_is_named(
    settings: ApiSettings, answer: dict[str, str], expected: str
) -> None:
    sentence = said(settings, **answer)

    assert sentence
    assert expected in sentence
    assert sentence.startswith(f"Prefect's API at {URL} refused a request without valid credentials (40")
    assert "secret-" not in sentence


def test_what_prefect_itself_forbids_is_no_question_of_credentials() -> None:
    assert said(AUTH, status=403, text='{"detail":"Missing CSRF token."}') is None
    assert said(AUTH, status=404) is None


def test_an_authorization_of_the_custom_headers_replaces_the_key_whatever_its_spelling() -> None:
    with http_client(OWN) as http:
        request = http.build_request("GET", "/")

    assert request.headers.get_list("authorization") == ["secret-4"]


def ask(
    proxy: GuardingProxy, folder: Path, *verb: str, program: str = MAIN, **environment: str
) -> tuple[int, str]:
    """The exit code and the errors of a command."""
    done = command(folder, *verb, program=program, PREFECT_API_URL=proxy.url, **environment)
    return done.returncode, done.stderr


def command(
    folder: Path, *verb: str, program: str = MAIN, **environment: str
) -> subprocess.CompletedProcess[str]:
    given = {name: os.environ[name] for name in ("PATH", "PYTHONPATH")}
    run = run_command if program == MAIN else partial(run_python, program)
    return run(verb, env={**given, "PREFECT_HOME": str(folder / "home"), **environment}, cwd=folder)


def test_a_command_says_in_one_sentence_what_a_proxy_asks_for(tmp_path: Path) -> None:
    with GuardingProxy("http://127.0.0.1:1", "X-Door", "open", status=403) as proxy:
        headers = json.dumps({"X-Door": "shut-secret"})
        code, errors = ask(proxy, tmp_path, "list", PREFECT_CLIENT_CUSTOM_HEADERS=headers)

    assert code == 1
    assert errors.count("\n") == 1, errors
    assert "(403): PREFECT_CLIENT_CUSTOM_HEADERS is not accepted" in errors
    assert "shut-secret" not in errors


@pytest.mark.parametrize("part", ["setup", "gateway", "reconcile", "worker"])
def test_each_part_ends_with_one_sentence(part: str, tmp_path: Path) -> None:
    with GuardingProxy("http://127.0.0.1:1", "Authorization", "Bearer open", challenge="Bearer") as proxy:
        if part == "worker":
            code, errors = ask(proxy, tmp_path, PREFECT_API_KEY="shut-secret", program=WORKER)
        else:
            code, errors = ask(proxy, tmp_path, part, PREFECT_API_KEY="shut-secret")

    assert code == 1
    assert errors.count("\n") == 1, errors
    assert errors.endswith(
        "PREFECT_API_KEY is not accepted; correct it (a key of Prefect Cloud, or of the proxy before the server)\n"
    )
    assert "shut-secret" not in errors


def test_an_unknown_or_unreadable_authority_is_said_at_once(tmp_path: Path) -> None:
    """Without the 90 seconds that a command waits for a server that is away."""
    certificate = make_certificate(tmp_path / "own.pem")
    (tmp_path / "bad.pem").write_text("no certificate")
    with GuardingProxy("http://127.0.0.1:1", "X-Door", "open", certificate=certificate) as proxy:
        for variables, expected in (
            ({}, "set PREFECT_API_SSL_CERT_FILE to a file with the certificate of its authority"),
            ({"PREFECT_API_SSL_CERT_FILE": "bad.pem"}, "PREFECT_API_SSL_CERT_FILE bad.pem: cannot be read ("),
            ({"PREFECT_API_SSL_CERT_FILE": "missing.pem"}, "PREFECT_API_SSL_CERT_FILE missing.pem: cannot"),
            ({"PREFECT_API_SSL_CERT_FILE": str(certificate)}, "refused a request without valid credentials"),
        ):
            code, errors = ask(proxy, tmp_path, "list", **variables)
            assert (code, errors.count("\n")) == (1, 1), errors
            assert expected in errors


WITH_PASSWORD = "http://ana:planted@127.0.0.1:1/api"


ALIKE = [pytest.param(verb, marks=pytest.mark.long) for verb in ("up", "setup", "run", "deploy", "reconcile")]


@pytest.mark.parametrize("part", ["list", "gateway", "worker", *ALIKE])
def test_each_part_refuses_a_url_with_a_password_and_shows_none(part: str, tmp_path: Path) -> None:
    program, verb = (WORKER, []) if part == "worker" else (MAIN, [part])
    files = [HELLO] if part in ("run", "deploy") else []
    done = command(tmp_path, *verb, *files, program=program, PREFECT_API_URL=WITH_PASSWORD)

    check_password_refused(done)


@pytest.mark.parametrize("verb", [["list"], ["deploy", HELLO]], ids=["list", "deploy"])
def test_a_url_with_a_password_in_a_profile_is_refused_too(verb: list[str], tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    profile = f'active = "mine"\n[profiles.mine]\nPREFECT_API_URL = "{WITH_PASSWORD}"\n'
    (tmp_path / "home" / "profiles.toml").write_text(profile)

    check_password_refused(command(tmp_path, *verb))


def check_password_refused(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert "PREFECT_API_URL has a user or a password in it" in done.stderr
    assert "set PREFECT_API_AUTH_STRING (USER:PASSWORD" in done.stderr
    assert "planted" not in done.stdout + done.stderr


@pytest.mark.parametrize("url", ["http://[::1", "ftp://host/api", "http://:80/api", "http://host:port/api"])
def test_what_is_no_url_is_refused(url: str, tmp_path: Path) -> None:
    done = command(tmp_path, "list", PREFECT_API_URL=url)

    said = f"PREFECT_API_URL is {url!r}, which is no URL; set it to one like http://HOST:4200/api"
    assert (done.returncode, said in done.stderr, done.stderr.count("\n")) == (1, True, 1), done.stderr


def test_a_flow_of_any_worker_refuses_a_url_with_a_password() -> None:
    """Prefect's own workers start flows without our command or worker."""
    with temporary_settings({PREFECT_API_URL: WITH_PASSWORD}), pytest.raises(NotLetIn) as refused:
        call("GET", "/health")

    assert "planted" not in str(refused.value)
