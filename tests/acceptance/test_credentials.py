"""Each way to be let in, in each part, before a real Prefect server: command line, worker, gateway, reconcile; requests and sockets."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from commands import MAIN, run_python
from guarding_proxy import GuardingProxy, make_certificate
from waiting import until

from prefect_codepipeline.deployments.local.ports import free_port
from prefect_codepipeline.deployments.local.probes import is_healthy

pytestmark = [pytest.mark.live, pytest.mark.long, pytest.mark.timeout(540)]
PARTS = ("worker", "gateway", "reconcile")
SECRET = "s3cret-of-the-way-in"
BASIC = base64.b64encode(f"ana:{SECRET}".encode()).decode()
WRONG = "wr0ng-of-the-way-in"
WORKER = ["-m", "prefect", "worker", "start", "--pool", "codepipeline", "--type", "codepipeline"]
# Of the shell's parent, the parent's parent and so on: the process of the execution, the fork server, the worker.
ENVIRONMENTS_ABOVE = (
    'p=$PPID; while [ "${p:-1}" -gt 1 ]; do cat /proc/$p/environ >>seen 2>/dev/null; '
    "p=$(sed -n 's/^PPid:[^0-9]*//p' /proc/$p/status 2>/dev/null); done; true"
)
PIPELINE = {
    "name": "guarded",
    "roleArn": "arn:aws:iam::111122223333:role/pipeline",
    "artifactStore": {"type": "S3", "location": "bucket"},
    "pipelineType": "V2",
    "stages": [
        {
            "name": "Source",
            "actions": [
                {
                    "name": "Src",
                    "actionTypeId": {"category": "Source", "owner": "Custom", "provider": "Scripted", "version": "1"},
                    "configuration": {"Output": "x"},
                    "outputArtifacts": [{"name": "Code"}],
                }
            ],
        },
        {
            "name": "Build",
            "actions": [
                {
                    "name": "Show",
                    "actionTypeId": {"category": "Compute", "owner": "AWS", "provider": "Commands", "version": "1"},
                    "commands": ["env >seen", ENVIRONMENTS_ABOVE, "cp seen $RESULT"],
                    "environmentVariables": [{"name": "RESULT", "value": "SEEN"}],
                    "inputArtifacts": [{"name": "Code"}],
                },
                {
                    "name": "Ok",
                    "runOrder": 2,
                    "actionTypeId": {"category": "Approval", "owner": "AWS", "provider": "Manual", "version": "1"},
                },
            ],
        },
    ],
}  # fmt: skip


@dataclass
class Way:
    """`variables` of the user with {} for the secret; what a refusal says without and with a wrong secret; sockets that pass."""

    variables: dict[str, str]
    missing: str
    wrong: str
    proxy: dict[str, Any] | None = None
    password: str | None = None
    sockets: bool = True
    tls: bool = False


_BEARER = {"header": "Authorization", "value": f"Bearer {SECRET}", "challenge": 'Bearer realm="x"'}
WAYS = {
    "password": Way(
        {"PREFECT_API_AUTH_STRING": "ana:{}"},
        "set PREFECT_API_AUTH_STRING (USER:PASSWORD",
        "PREFECT_API_AUTH_STRING is not accepted",
        password=f"ana:{SECRET}",
    ),
    "password at a proxy too": Way(
        {"PREFECT_API_AUTH_STRING": "ana:{}"},
        "set PREFECT_API_AUTH_STRING (USER:PASSWORD",
        "PREFECT_API_AUTH_STRING is not accepted",
        {
            "header": "Authorization",
            "value": f"Basic {BASIC}",
            "challenge": 'Basic realm="x"',
        },
        password=f"ana:{SECRET}",
    ),
    "key": Way(
        {"PREFECT_API_KEY": "{}"}, "set PREFECT_API_KEY (", "PREFECT_API_KEY is not accepted", _BEARER
    ),
    "header, with TLS of an own authority": Way(
        {"PREFECT_CLIENT_CUSTOM_HEADERS": '{{"X-Door": "{}"}}'},
        "or PREFECT_CLIENT_CUSTOM_HEADERS (",
        "PREFECT_CLIENT_CUSTOM_HEADERS is not accepted",
        {"header": "X-Door", "value": SECRET, "status": 403},
        tls=True,
    ),
    "key, and no sockets": Way(
        {"PREFECT_API_KEY": "{}"},
        "set PREFECT_API_KEY (",
        "PREFECT_API_KEY is not accepted",
        {**_BEARER, "sockets": False},
        sockets=False,
    ),
}


@contextmanager
def running(
    command: list[str], log: Path, env: Mapping[str, str], **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """A process with its output in a file, until the end of the block."""
    with log.open("w") as output:
        process = subprocess.Popen(command, env=env, stdout=output, stderr=subprocess.STDOUT, **options)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


@contextmanager
def prefect(folder: Path, password: str | None) -> Iterator[str]:
    """A Prefect server, its API's URL."""
    port = free_port()
    env = {**plain(folder), "PREFECT_HOME": str(folder / "server")}
    if password:
        env |= {"PREFECT_SERVER_API_AUTH_STRING": password, "PREFECT_API_AUTH_STRING": password}
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with running([*command, "--no-ui"], folder / "server.out", env):
        url = f"http://127.0.0.1:{port}/api"
        until(lambda: is_healthy(url), 120)
        yield url


def plain(folder: Path) -> dict[str, str]:
    """The environment of a user who has set nothing yet."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return {
        **kept,
        "PREFECT_HOME": str(folder / "home"),
        "PREFECT_CODEPIPELINE_HOME": str(folder / "embedded"),
        "PREFECT_CODEPIPELINE_ARTIFACTS": str(folder / "artifacts"),
        "PREFECT_CODEPIPELINE_CACHE": str(folder / "cache"),
        "PREFECT_WORKER_QUERY_SECONDS": "2",
    }


@dataclass
class Site:
    """What a user of the server has: variables, and a folder for the logs of the parts. `server` is what is behind the proxy."""

    way: Way
    folder: Path
    url: str
    server: str
    certificate: Path | None
    proxy: GuardingProxy | None
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)

    def variables(self, secret: str | None) -> dict[str, str]:
        found = {**plain(self.folder), "PREFECT_API_URL": self.url}
        if self.certificate:
            found["PREFECT_API_SSL_CERT_FILE"] = str(self.certificate)
        if secret:
            found |= {name: value.format(secret) for name, value in self.way.variables.items()}
        return found

    def run(self, *arguments: str, secret: str | None = SECRET) -> subprocess.CompletedProcess[str]:
        done = run_python(MAIN, arguments, env=self.variables(secret), cwd=self.folder)
        assert not secrets_in(done.stdout, done.stderr)
        return done

    def cli(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextmanager
    def part(self, name: str, *command: str) -> Iterator[None]:
        self.ports[name] = free_port()
        env = {**self.variables(SECRET), "PREFECT_CODEPIPELINE_METRICS_PORT": str(self.ports[name])}
        log = self.folder / f"{name}.log"
        with running([sys.executable, *command], log, env, cwd=self.folder) as process:
            self.processes[name] = process
            yield

    def page(self, part: str, path: str) -> str:
        return httpx.get(f"http://127.0.0.1:{self.ports[part]}/{path}", timeout=20).text

    def ask(self, path: str, body: Mapping[str, Any]) -> Any:
        """What Prefect's API itself answers, without the proxy."""
        auth = httpx.BasicAuth("ana", SECRET) if self.way.password else None
        return httpx.post(f"{self.server}/{path}", json=body, auth=auth, timeout=20).raise_for_status().json()

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def latest(self) -> dict[str, Any]:
        latest: dict[str, Any] = json.loads(self.cli("status", "guarded", "--json"))["executions"][0]
        return latest


@pytest.fixture(params=WAYS)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    way = WAYS[request.param]
    certificate = make_certificate(tmp_path / "own.pem") if way.tls else None
    with ExitStack() as stack:
        server, proxy = stack.enter_context(prefect(tmp_path, way.password)), None
        if way.proxy:
            proxy = stack.enter_context(GuardingProxy(server, certificate=certificate, **way.proxy))
        yield Site(way, tmp_path, proxy.url if proxy else server, server, certificate, proxy)


def test_a_pipeline_runs_through_every_part_and_no_secret_gets_out(site: Site) -> None:
    check_refusals(site)
    seen, port = site.folder / "seen", free_port()
    site.cli("setup")
    (site.folder / "guarded.json").write_text(json.dumps(PIPELINE).replace("SEEN", str(seen)))
    (site.folder / "guarded.settings.yaml").write_text("defaults: {run_on: host}\n")
    site.cli("deploy", "guarded.json")
    with (
        site.part("worker", *WORKER),
        site.part("gateway", "-c", MAIN, "gateway", "--port", str(port)),
        site.part("reconcile", "-c", MAIN, "reconcile", "--every", "1", "--no-poll"),
    ):
        for _ in range(2):  # a warning a run would come twice
            site.cli("start", "guarded")
            until(lambda: is_open(site), 120, lambda: told(site))
            page = until(lambda: approval_page(site), 120, lambda: told(site))
            assert "guarded" in page
            site.cli("approve", "guarded")
            until(lambda: site.latest()["status"] != "InProgress", 120, lambda: told(site))
            assert site.latest()["status"] == "Succeeded", told(site)
            check_environments(seen)
        ran = site.cli("run", "guarded.json", "--approve")
        check_environments(seen)
        check_reconcile(site)
        check_sockets(site, site.log("worker"), ran)
        site.cli("logs", "guarded")
        pages = [site.page(part, path) for part in PARTS for path in ("health", "metrics")]
        open_to_others = [environment_of(process.pid) for process in site.processes.values()]
    assert not secrets_in(page, *pages, *open_to_others)
    assert not [file for file in site.folder.rglob("*") if file.is_file() and secrets_in(file.read_bytes())]
    assert not [part for part in PARTS if "Traceback" in site.log(part)], told(site)


def secrets_in(*texts: str | bytes) -> list[str | bytes]:
    """Those of the texts that have the secret, as it is or as it is sent."""
    as_bytes = {text: text.encode() if isinstance(text, str) else text for text in texts}
    return [text for text, raw in as_bytes.items() if SECRET.encode() in raw or BASIC.encode() in raw]


def environment_of(pid: int) -> bytes:
    """What `/proc` shows others of a process; nothing where there is none, or where it is closed to them."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def check_environments(seen: Path) -> None:
    """The variables of the action's command, and those that it can read of the processes above it."""
    found = seen.read_bytes()
    assert b"CODEBUILD_BUILD_ID" in found
    assert not secrets_in(found)
    seen.unlink()


def check_reconcile(site: Site) -> None:
    until(
        lambda: "reconciles; the last round ended" in site.page("reconcile", "health"), 60, lambda: told(site)
    )


def is_open(site: Site) -> bool:
    return "approve guarded" in site.cli("status", "guarded")


def approval_page(site: Site) -> str | None:
    """The page of the approval; None if Prefect was too slow for the gateway, which says then to open it again."""
    page = httpx.get(site.cli("approval-link", "guarded").split()[-1], timeout=60)
    assert page.status_code in (200, 503), page.text
    return page.text if page.status_code == 200 else None


def told(site: Site) -> str:
    """What the parts have written."""
    return "\n".join(f"--- {part}\n{site.log(part)}" for part in site.processes)


def check_refusals(site: Site) -> None:
    """What each part says is in tests/prefect_api/test_credentials.py."""
    for secret, expected in ((None, site.way.missing), (WRONG, site.way.wrong)):
        done = site.run("list", secret=secret)
        assert done.returncode == 1
        assert expected in done.stderr, done.stderr
        assert WRONG not in done.stdout + done.stderr
    if site.proxy:
        site.proxy.refused.clear()


def check_sockets(site: Site, *said: str) -> None:
    """Prefect has the task runs of actions from sockets only. What the proxy refused are sockets, or nothing.

    `said`: by the worker and by `codepipeline run`, which send them.
    """
    shown = {"task_runs": {"name": {"any_": ["Show"]}}}
    if site.way.sockets:
        until(lambda: site.ask("task_runs/count", shown) == 3, 60, lambda: told(site))
    else:
        assert site.ask("task_runs/count", shown) == 0
    warnings = ("Unable to connect", "failed to connect", "Falling back to polling", "failed with")
    for text in said:
        assert not [warning for warning in warnings if warning in text], text
        assert text.count("event sockets at") == (0 if site.way.sockets else 1), text
    if site.proxy:
        for path in ("socket /api/events/in", "socket /api/events/out"):
            assert (path in site.proxy.passed) == site.way.sockets
        refused = {what for what in site.proxy.refused if site.way.sockets or not what.startswith("socket ")}
        assert not refused, "a part did without its credentials"
        assert not site.proxy.redirected, (
            "the server's own address is not the one behind which the user is let in"
        )
