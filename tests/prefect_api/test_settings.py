"""What users set for Prefect's client counts for our requests too: from the environment and from each of Prefect's files."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from guarding_proxy import make_certificate
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_KEY,
    PREFECT_API_URL,
    PREFECT_CLIENT_CSRF_SUPPORT_ENABLED,
    temporary_settings,
)
from prefect.settings.models.root import Settings
from waiting import until

from prefect_codepipeline.deployments.local.ports import free_port
from prefect_codepipeline.deployments.local.probes import is_healthy
from prefect_codepipeline.errors import CodePipelineError, PrefectUnavailable
from prefect_codepipeline.numbers_set import number_set
from prefect_codepipeline.prefect_api import settings
from prefect_codepipeline.prefect_api.client import call
from prefect_codepipeline.prefect_api.settings import read_without_prefect
from prefect_codepipeline.prefect_api.variables import create_variable, read_variable

# Sends one request, and tells whether it imported Prefect.
_ASK = (
    "import sys\n"
    "from prefect_codepipeline.prefect_api.client import call\n"
    "print(call('GET', '/health'), 'prefect' in sys.modules)"
)
_HEADERS = {"X-One": "1", "X-Two": "two words"}
URL = "http://127.0.0.1:4200/api"
CLOUD = "https://api.prefect.cloud/api/accounts/1/workspaces/2"


class Recorder:
    """A server on loopback that records the headers of requests; with a certificate of its own if `tls` is true."""

    def __init__(self, folder: Path, tls: bool) -> None:
        self.seen: list[dict[str, str]] = []
        seen = self.seen

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                seen.append(dict(self.headers.items()))
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(b"true")

            def log_message(self, *_: Any) -> None:
                """Print nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.certificate = folder / "certificate.pem"
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            make_certificate(self.certificate)
            context.load_cert_chain(self.certificate, self.certificate.with_suffix(".key"))
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self._server.server_address[1]}/api"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    server = Recorder(tmp_path, tls=False)
    yield server
    server.stop()


@pytest.fixture
def tls_recorder(tmp_path: Path) -> Iterator[Recorder]:
    server = Recorder(tmp_path, tls=True)
    yield server
    server.stop()


def ask(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Send a request from a process without Prefect, in a folder and with settings of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    kept |= {"PREFECT_HOME": str(folder / "home"), "PREFECT_CODEPIPELINE_AWAY_SECONDS": "0.1", **environment}
    command = [sys.executable, "-c", _ASK]
    return subprocess.run(
        command, cwd=folder, env=kept, capture_output=True, text=True, timeout=100, check=False
    )


def write(folder: Path, values: dict[str, str], where: str) -> dict[str, str]:
    """Put settings there; the environment for the process."""
    if where == "environment":
        return values
    if where == ".env":
        (folder / ".env").write_text("".join(f"{name}='{value}'\n" for name, value in values.items()))
    if where == "profile":
        (folder / "home").mkdir()
        lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
        text = "\n".join(['active = "mine"', "[profiles.mine]", *lines])
        (folder / "home" / "profiles.toml").write_text(text)
    if where in ("prefect.toml", "pyproject.toml"):
        prefix = "tool.prefect." if where == "pyproject.toml" else ""
        lines = [
            f"[{prefix}{group}]\n{key} = {json.dumps(value)}"
            for name, value in values.items()
            for group, _, key in [name.removeprefix("PREFECT_").lower().partition("_")]
        ]
        # Each table once.
        tables: dict[str, list[str]] = {}
        for line in lines:
            table, assignment = line.split("\n")
            tables.setdefault(table, []).append(assignment)
        (folder / where).write_text("\n".join("\n".join([table, *below]) for table, below in tables.items()))
    return {}


PLACES = ["environment", "profile", "prefect.toml", "pyproject.toml", ".env"]


@pytest.mark.parametrize("where", PLACES)
def test_credentials_and_headers_reach_the_server(recorder: Recorder, tmp_path: Path, where: str) -> None:
    values = {
        "PREFECT_API_URL": recorder.url,
        "PREFECT_API_AUTH_STRING": "ana:secret",
        "PREFECT_CLIENT_CUSTOM_HEADERS": json.dumps({**_HEADERS, "User-Agent": "not this"}),
    }
    done = ask(tmp_path, **write(tmp_path, values, where))

    assert done.stdout == "(200, True) False\n", done.stderr
    (seen,) = recorder.seen
    assert seen["Authorization"] == "Basic YW5hOnNlY3JldA=="
    assert {name: seen[name] for name in _HEADERS} == _HEADERS
    assert seen["User-Agent"].startswith("prefect-codepipeline/")


def test_a_key_reaches_the_server(recorder: Recorder, tmp_path: Path) -> None:
    ask(tmp_path, PREFECT_API_URL=recorder.url, PREFECT_API_KEY="pnu_1")

    assert [seen["Authorization"] for seen in recorder.seen] == ["Bearer pnu_1"]


@pytest.mark.parametrize("where", ["environment", "profile"])
@pytest.mark.parametrize("setting", ["PREFECT_API_SSL_CERT_FILE", "PREFECT_API_TLS_INSECURE_SKIP_VERIFY"])
def test_tls_is_as_it_was_set(tls_recorder: Recorder, tmp_path: Path, setting: str, where: str) -> None:
    value = "true" if setting.endswith("VERIFY") else str(tls_recorder.certificate)
    values = write(tmp_path, {"PREFECT_API_URL": tls_recorder.url, setting: value}, where)

    assert ask(tmp_path, **values).stdout == "(200, True) False\n"


def test_an_unknown_certificate_is_refused(tls_recorder: Recorder, tmp_path: Path) -> None:
    done = ask(tmp_path, PREFECT_API_URL=tls_recorder.url)

    assert "CERTIFICATE_VERIFY_FAILED" in done.stderr
    assert tls_recorder.seen == []


def test_without_a_server_it_is_said_how_to_get_one(tmp_path: Path) -> None:
    done = ask(tmp_path)

    assert "no Prefect server is configured; start one with `codepipeline up`" in done.stderr


def test_what_is_not_written_in_the_plain_way_is_left_to_prefect(recorder: Recorder, tmp_path: Path) -> None:
    done = ask(tmp_path, PREFECT_API_URL=recorder.url, PREFECT_CLIENT_CSRF_SUPPORT_ENABLED="perhaps")

    assert "perhaps" in done.stderr
    assert "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED" in done.stderr or "csrf_support_enabled" in done.stderr


CASES: dict[str, dict[str, str]] = {
    "nothing": {},
    "a URL": {"environment": f"PREFECT_API_URL={URL}"},
    "any case": {"environment": f"prefect_api_url={URL}"},
    "cloud": {"profile": f'PREFECT_API_URL = "{CLOUD}"\nPREFECT_API_KEY = "pnu"'},
    "another cloud": {
        "environment": "PREFECT_API_URL=https://api.stg.prefect.dev/api/accounts/1/workspaces/2",
        "profile": 'PREFECT_CLOUD_API_URL = "https://api.stg.prefect.dev/api"',
    },
    "an empty value": {"environment": "PREFECT_API_URL=", "profile": f'PREFECT_API_URL = "{URL}"'},
    "order": {
        "environment": "PREFECT_API_KEY=environment",
        ".env": f"PREFECT_API_KEY=dotenv\nPREFECT_API_URL={URL}/dotenv",
        "prefect.toml": f'[api]\nurl = "{URL}/prefect"\nauth_string = "prefect"\nkey = "prefect"',
        "pyproject.toml": f'[tool.prefect.api]\nurl = "{URL}/project"\nauth_string = "project"\nrequest_timeout = 7',
        "profile": f'PREFECT_API_URL = "{URL}/profile"\nPREFECT_API_REQUEST_TIMEOUT = 8\nPREFECT_UI_URL = "http://ui"',
    },
    "types of TOML": {
        "prefect.toml": "[api]\nenable_http2 = true\n[client]\ncsrf_support_enabled = false\n"
        '[client.custom_headers]\n"X-One" = "1"',
    },
    "words": {
        "environment": "PREFECT_API_ENABLE_HTTP2=Yes\nPREFECT_API_TLS_INSECURE_SKIP_VERIFY=off\nPREFECT_API_REQUEST_TIMEOUT=5",
    },
    "another profile": {"environment": "PREFECT_PROFILE=other", "profile": f'PREFECT_API_URL = "{URL}"'},
    "profiles elsewhere": {
        ".env": "PREFECT_PROFILES_PATH=elsewhere.toml",
        "elsewhere.toml": f'active = "x"\n[profiles.x]\nPREFECT_API_URL = "{URL}/x"',
        "profile": f'PREFECT_API_URL = "{URL}"',
    },
    "a UI of its own": {"environment": f"PREFECT_API_URL={URL}", "prefect.toml": 'ui_url = "https://ui/x/"'},
    "certificates": {"environment": "PREFECT_API_SSL_CERT_FILE=/etc/one.pem"},
}


@pytest.mark.parametrize("case", CASES)
def test_settings_are_those_that_prefect_reads(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for place, text in CASES[case].items():
        if place == "environment":
            for line in text.splitlines():
                monkeypatch.setenv(*line.split("=", 1))
        elif place == "profile":
            (tmp_path / "home").mkdir()
            (tmp_path / "home" / "profiles.toml").write_text(f'active = "mine"\n[profiles.mine]\n{text}\n')
        else:
            (tmp_path / place).write_text(f"{text}\n")

    assert read_without_prefect() == settings._converted(Settings())


@pytest.fixture
def guarded_server(tmp_path: Path) -> Iterator[str]:
    """The API's URL of a Prefect server with a password and CSRF protection."""
    port = free_port()
    guards = {
        "PREFECT_SERVER_API_AUTH_STRING": "ana:secret",
        "PREFECT_API_AUTH_STRING": "ana:secret",  # it sends requests to itself
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_HOME": str(tmp_path),
    }
    kept = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    command = [sys.executable, "-m", "prefect_codepipeline.deployments.local.server_process", str(port)]
    process = subprocess.Popen(
        command, env={**kept, **guards}, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    assert process.stdin
    process.stdin.write("the database is there\n")
    process.stdin.close()
    url = f"http://127.0.0.1:{port}/api"
    try:
        until(lambda: is_healthy(url), 120)
        yield url
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.long
@pytest.mark.live
@pytest.mark.usefixtures("no_server")
def test_a_server_with_a_password_and_csrf_protection(guarded_server: str) -> None:
    with temporary_settings({PREFECT_API_URL: guarded_server}):
        with pytest.raises(PrefectUnavailable, match="set PREFECT_API_AUTH_STRING"):
            read_variable("x")
        with temporary_settings({PREFECT_API_AUTH_STRING: "ana:secret"}):
            assert create_variable("x", 1, []) is not None
            assert create_variable("x", 2, []) is None
            found = read_variable("x")
            assert found
            assert found["value"] == 1
            with (
                temporary_settings({PREFECT_CLIENT_CSRF_SUPPORT_ENABLED: False}),
                pytest.raises(PrefectUnavailable, match="responded with 403"),
            ):
                create_variable("y", 1, [])


@pytest.mark.long
@pytest.mark.live
@pytest.mark.usefixtures("no_server")
def test_every_command_says_which_variable_a_guarded_server_wants(
    guarded_server: str, tmp_path: Path
) -> None:
    """Also the commands that write blocks, which is done by Prefect's own client."""
    hello = str(Path(__file__).parents[2] / "examples" / "hello" / "pipeline.json")
    token = ["slack", "add", "releases", "--channel", "C1"]
    missing, wrong = "set PREFECT_API_AUTH_STRING (USER:PASSWORD", "PREFECT_API_AUTH_STRING is not accepted"

    for verb, auth, expected in (
        (["list"], {}, missing),
        (["list"], {"PREFECT_API_AUTH_STRING": "ana:wrong"}, wrong),
        (["start", "x"], {}, missing),
        (["deploy", hello], {}, missing),
        (token, {}, missing),
        (["setup"], {}, missing),
    ):
        done = subprocess.run(
            [sys.executable, "-c", "from prefect_codepipeline.cli import main; main()", *verb],
            env={**os.environ, "PREFECT_API_URL": guarded_server, "PREFECT_HOME": str(tmp_path / "home"), **auth},
            input="xoxb-1\n", capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        assert expected in done.stderr, (verb, done.stderr)


@pytest.mark.usefixtures("no_server")
def test_settings_of_a_context_count(recorder: Recorder) -> None:
    with temporary_settings({PREFECT_API_URL: recorder.url, PREFECT_API_KEY: "one"}):
        call("GET", "/health")
        with temporary_settings({PREFECT_API_KEY: "two"}):
            call("GET", "/health")

    assert [seen["Authorization"] for seen in recorder.seen] == ["Bearer one", "Bearer two"]


@pytest.mark.parametrize("value", ["planted", '["planted"]', '{"a": ["planted"]}', '{"a": planted}'])
def test_headers_that_are_none_are_refused_without_their_value(value: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("PREFECT_CLIENT_CUSTOM_HEADERS", value)
    with pytest.raises(CodePipelineError, match="PREFECT_CLIENT_CUSTOM_HEADERS is no JSON object") as refused:
        read_without_prefect()
    assert "planted" not in str(refused.value)


@pytest.mark.parametrize("text", ["abc", "-1", "nan", "inf", "1e999"])
def test_a_variable_that_is_no_number_is_refused_by_its_name(text: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("PREFECT_CODEPIPELINE_POLL_SECONDS", text)
    with pytest.raises(CodePipelineError, match=f"PREFECT_CODEPIPELINE_POLL_SECONDS is '{text}'; set it to"):
        number_set("PREFECT_CODEPIPELINE_POLL_SECONDS", 60)
