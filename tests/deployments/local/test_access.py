"""Who reaches the embedded server: no page of another site, and no process without the secret."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from browser import Page, browsing
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from prefect_codepipeline.deployments.create import deploy_pipeline
from prefect_codepipeline.deployments.local import access, embedded
from prefect_codepipeline.errors import PrefectUnavailable
from prefect_codepipeline.prefect_api.client import call

# What any page can run. The answers are in `document.title` when it is over.
_ATTACK = """
<!doctype html><title>running</title><script>
const ask = async (path, type, body) => {
  try {
    const answer = await fetch("%(api)s" + path, {method: "POST", body: JSON.stringify(body), headers: {"content-type": type}});
    return answer.status + " " + await answer.text();
  } catch (error) { return "refused"; }
};
const body = {include_secrets: true};
const run = {state: {type: "SCHEDULED"}, job_variables: {command: "touch %(mark)s"}};
(async () => {
  const answers = [];
  for (const type of ["application/json", "text/plain"]) {
    answers.push(await ask("/block_documents/filter", type, body));
    answers.push(await ask("/deployments/%(deployment)s/create_flow_run", type, run));
  }
  document.title = JSON.stringify(answers);
})();
</script>
"""


@pytest.fixture
def running(prefect_server: str) -> embedded.Embedded:
    found = embedded.find()
    assert found
    return found


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("there is no Chromium on this machine; `make test FULL=1` installs it where it can")
    with browsing(chromium, tmp_path / "chromium", 1200, 800) as page:
        yield page


@pytest.fixture
def foreign_site() -> Iterator[Any]:
    """A web site of somebody else on this machine; `html` is its page, `url` its address."""

    class Site(ThreadingHTTPServer):
        html = ""

        @property
        def url(self) -> str:
            return f"http://127.0.0.1:{self.server_port}/"

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(self.server.html.encode())  # type: ignore[attr-defined]

        def log_message(self, *_: Any) -> None:
            pass

    site = Site(("127.0.0.1", 0), Handler)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    yield site
    site.shutdown()
    site.server_close()


@pytest.mark.live
def test_a_page_of_another_site_reads_no_secret_and_starts_nothing(
    running: embedded.Embedded, page: Page, foreign_site: Any, world: Any, tmp_path: Path
) -> None:
    deploy_pipeline(world.declare([world.action("A")]))
    _, deployment = call("GET", f"/deployments/name/pipeline/{world.name}")
    foreign_site.html = _ATTACK % {
        "api": running.api_url,
        "deployment": deployment["id"],
        "mark": tmp_path / "mark",
    }

    page.call("Page.navigate", url=foreign_site.url)
    page.wait("document.title != 'running'")

    assert json.loads(page.evaluate("document.title")) == ["refused"] * 4
    assert call("POST", "/flow_runs/count", {"deployments": {"id": {"any_": [deployment["id"]]}}})[1] == 0


@pytest.mark.live
def test_the_link_that_up_prints_signs_a_browser_in_and_is_gone_from_its_history(
    running: embedded.Embedded, page: Page
) -> None:
    for address in (f"{running.ui_url}/dashboard", f"{running.ui_url}/sign-in#1.forged/dashboard"):
        page.call("Page.navigate", url=address)
        page.wait("!document.body.innerText.includes('Signing in')")
        assert page.evaluate("localStorage.getItem('prefect-password')") is None

    page.call("Page.navigate", url="about:blank")
    page.call("Page.navigate", url=running.sign_in_url("runs"))
    page.wait("location.pathname.startsWith('/runs') || location.pathname.startsWith('/v2/runs')")
    page.wait("document.body.innerText.includes('Flow Runs') || document.body.innerText.includes('Runs')")

    assert page.evaluate("localStorage.getItem('prefect-password')")
    assert not page.evaluate("Boolean(document.querySelector('input[type=password]'))")
    history = page.call("Page.getNavigationHistory")["entries"]
    assert [entry["url"] for entry in history if "#" in entry["url"] and "forged" not in entry["url"]] == []


@pytest.mark.live
def test_open_prints_a_link_that_signs_in_to_the_embedded_server_only(
    running: embedded.Embedded, world: Any
) -> None:
    deploy_pipeline(world.declare([world.action("A")]))
    own = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}

    here = world.cli("open", world.name, env=own).stdout
    elsewhere = world.cli(
        "open", world.name, env={**own, "PREFECT_UI_URL": "http://prefect.example.com"}
    ).stdout

    assert f"sign in with: {running.ui_url}/sign-in#" in here
    assert "sign-in#" not in elsewhere


@pytest.mark.live
@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        pytest.param("/api/health", {}, 200, id="health"),
        pytest.param("/api/block_documents/filter", {}, 401, id="no secret"),
        pytest.param(
            "/api/block_documents/filter", {"authorization": "Basic eDp5"}, 401, id="another secret"
        ),
        pytest.param("/api/health", {"host": "evil.example"}, 421, id="another host"),
        pytest.param("/api/health", {"host": "127.0.0.1"}, 421, id="no port"),
        pytest.param("/api/health", {"host": "127.0.0.1:1"}, 421, id="another port"),
        pytest.param("/", {"host": "evil.example"}, 421, id="another host, the UI"),
        pytest.param("/sign-in", {"host": "evil.example"}, 421, id="another host, to sign in"),
        pytest.param("/api/health", {"origin": "http://evil.example"}, 403, id="another origin"),
        pytest.param("/api/health", {"origin": "null"}, 403, id="a hidden origin"),
    ],
)
def test_requests_without_the_secret_or_under_another_name_are_refused(
    running: embedded.Embedded, path: str, headers: dict[str, str], status: int
) -> None:
    is_post = path.endswith("/filter")
    answer = httpx.request(
        "POST" if is_post else "GET", running.ui_url + path, headers=headers, json={} if is_post else None
    )

    assert answer.status_code == status
    assert answer.headers.get("access-control-allow-origin") in (None, headers.get("origin", "none"))
    assert "*" not in answer.headers.get("access-control-allow-origin", "")


@pytest.mark.live
@pytest.mark.parametrize(
    ("origin", "has_secret"), [("http://evil.example", True), (None, False)], ids=["origin", "no secret"]
)
@pytest.mark.parametrize("path", ["/events/out", "/events/in", "/logs/out"])
def test_websockets_are_guarded_as_requests_are(
    running: embedded.Embedded, path: str, origin: Any, has_secret: bool
) -> None:
    url = running.api_url.replace("http:", "ws:") + path
    token = access.auth_string(running.home) if has_secret else "x:y"

    def greet() -> Any:
        with connect(url, subprotocols=["prefect"], origin=origin, proxy=None) as socket:
            socket.send(json.dumps({"type": "auth", "token": token}))
            return json.loads(socket.recv(timeout=20))

    with pytest.raises((InvalidStatus, ConnectionClosed)):
        greet()


@pytest.mark.live
def test_the_secret_is_in_one_file_that_only_its_owner_reads(running: embedded.Embedded) -> None:
    secret = access.auth_string(running.home)
    assert secret
    assert stat.S_IMODE(running.profiles.stat().st_mode) == 0o600

    password = secret.partition(":")[2]
    files = [path for path in running.home.rglob("*") if path.is_file() and "postgresql" not in path.parts]
    assert [path.name for path in files if password.encode() in path.read_bytes()] == ["profiles.toml"]
    state = json.loads((running.home / "state.json").read_text())
    for part in ("postgresql", "server", "worker", "reconcile"):
        for shown in ("environ", "cmdline"):
            assert password.encode() not in Path(f"/proc/{state[part]['pid']}/{shown}").read_bytes()


@pytest.mark.live
def test_the_prefect_command_needs_the_line_that_up_prints(
    running: embedded.Embedded, tmp_path: Path
) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    command = [
        sys.executable,
        "-c",
        "from prefect.cli import app; app()",
        "work-pool",
        "inspect",
        "codepipeline",
    ]
    environment = {**kept, "PREFECT_HOME": str(tmp_path)}

    def ask(**more: str) -> int:
        return subprocess.run(
            command, env={**environment, **more}, capture_output=True, check=False
        ).returncode

    assert ask(PREFECT_PROFILES_PATH=str(running.profiles)) == 0
    assert ask(PREFECT_API_URL=running.api_url) != 0


def test_names_that_the_user_adds_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(access.HOSTS_VARIABLE, "localhost:8080, Prefect.example.com")

    assert access.allowed_hosts(4200) == [
        "127.0.0.1:4200",
        "localhost:4200",
        "[::1]:4200",
        "localhost:8080",
        "prefect.example.com",
    ]
    assert "https://prefect.example.com" in access.allowed_origins(4200)


def test_a_ticket_expires_and_cannot_be_forged(monkeypatch: pytest.MonkeyPatch) -> None:
    ticket = access.sign_in_ticket("me:secret")
    until = ticket.partition(".")[0]

    assert access.is_ticket("me:secret", ticket)
    assert not access.is_ticket("me:another", ticket)
    assert not access.is_ticket("me:secret", f"{int(until) + 1}{ticket[len(until) :]}")
    assert not access.is_ticket("me:secret", f"é.{access.proof('me:secret', 'sign-in', 'é')}")
    monkeypatch.setattr(access.time, "time", lambda: int(until) + 1)
    assert not access.is_ticket("me:secret", ticket)


def test_the_secret_is_kept_until_it_is_forgotten(tmp_path: Path) -> None:
    assert access.auth_string(tmp_path) is None
    first = access.write_profile(tmp_path, "http://127.0.0.1:1/api")

    assert access.write_profile(tmp_path, "http://127.0.0.1:2/api") == first == access.auth_string(tmp_path)
    access.forget_secret(tmp_path)
    assert access.write_profile(tmp_path, "http://127.0.0.1:2/api") != first

    access.profiles_file(tmp_path).write_text("[")
    with pytest.raises(PrefectUnavailable, match=r"profiles\.toml.* cannot be read .*remove it, and run"):
        access.auth_string(tmp_path)
