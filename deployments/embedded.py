"""The embedded set-up: a Prefect server, a warm worker and the reconcile loop, for one user.

It lives in one folder (`PREFECT_CODEPIPELINE_HOME`, else the user's data folder), on SQLite unless a database is named,
listens on 127.0.0.1 only, and keeps its port, so that links stay valid.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import platformdirs

from prefect_codepipeline.deployments.worker.fingerprint import fingerprint
from prefect_codepipeline.deployments.worker.fork_server import die_with_parent
from prefect_codepipeline.errors import PrefectUnavailable

HOME_VARIABLE = "PREFECT_CODEPIPELINE_HOME"
# A database that the server uses instead of SQLite, as SQLAlchemy writes it: postgresql+asyncpg://user:password@host/name
DATABASE_VARIABLE = "PREFECT_CODEPIPELINE_DATABASE_URL"
POOL = "codepipeline"
GATEWAY_PORT = 4290
START_SECONDS = 120.0
# How long a server that lives may not answer before it counts as hung.
BUSY_SECONDS = 60.0
STOP_SECONDS = 10.0
# What a set-up of one user does without, and what SQLite is better off with.
_TUNING = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_DATABASE_TIMEOUT": "30",
    "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "30",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    "DO_NOT_TRACK": "1",
}


@dataclass(frozen=True)
class Embedded:
    """A running embedded set-up."""

    api_url: str
    ui_url: str
    home: Path
    gateway_url: str | None = None


def configured_api_url() -> str | None:
    """The API that the user has configured, by `PREFECT_API_URL` or an active Prefect profile."""
    if url := os.environ.get("PREFECT_API_URL"):
        return url
    profiles = Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect") / "profiles.toml"
    places = (profiles, *map(Path, ("prefect.toml", "pyproject.toml", ".env")))
    if not os.environ.get("PREFECT_PROFILE") and not any(_speaks_of_an_api(place) for place in places):
        return None  # without importing Prefect, which takes two seconds
    from prefect.settings import PREFECT_API_URL

    return PREFECT_API_URL.value() or None


def _speaks_of_an_api(file: Path) -> bool:
    try:
        return "api" in file.read_text(errors="replace").lower()
    except OSError:
        return False


def up(limit: int | None = None, gateway: bool | None = None) -> Embedded:
    """Start what does not run, wait until it answers, and say where; safe to call twice and at once.

    Args:
        limit: how many executions the worker runs at once. None: as before, at first two for each processor and four
            at least.
        gateway: whether the gateway runs too. None: as before, at first not.

    Raises:
        PrefectUnavailable: the server did not start; with the end of its log.
    """
    home = _home()
    with _locked(home):
        state = _read_state(home)
        port = _start_server(home, state)
        running = _embedded(home, port)
        _make_pool(home, running.api_url)
        state["limit"] = limit or state.get("limit") or max(4, 2 * (os.cpu_count() or 2))
        worker = [
            "-m",
            "prefect",
            "worker",
            "start",
            "--pool",
            POOL,
            "--type",
            POOL,
            "--limit",
            str(state["limit"]),
        ]
        _start(home, state, "worker", worker, running.api_url)
        loop = ["-m", "prefect_codepipeline.deployments.reconcile_loop"]
        _start(home, state, "reconcile", loop, running.api_url)
        url = _see_to_gateway(home, state, running.api_url, gateway)
        return replace(running, gateway_url=url)


def _see_to_gateway(home: Path, state: State, api_url: str, is_wanted: bool | None) -> str | None:
    """Have the gateway run, or not; its address."""
    kept = state.setdefault("gateway-kept", {"runs": False, "port": GATEWAY_PORT})
    kept["runs"] = kept["runs"] if is_wanted is None else is_wanted
    if not kept["runs"]:
        _stop(state.pop("gateway", None))
        _write_state(home, state)
        return None
    if not _is_alive(state.get("gateway")) and not _is_free(kept["port"]):
        kept["port"] = _free_port()
    url = f"http://127.0.0.1:{kept['port']}"
    # Not given as --url: a public address that was given before stays.
    command = [
        "-c",
        "from prefect_codepipeline.cli import main; main()",
        "gateway",
        "--port",
        str(kept["port"]),
    ]
    _start(home, state, "gateway", command, api_url)
    if not _answers(
        lambda: _request_text(f"{url}/health") == "ok\n", lambda: _is_alive(state["gateway"]), START_SECONDS
    ):
        raise PrefectUnavailable(f"the gateway did not start; see {home / 'logs' / 'gateway.log'}")
    return url


def down() -> None:
    """Stop the worker, the loop and the server, and wait until they are gone."""
    home = _home()
    with _locked(home):
        state = _read_state(home)
        for part in ("gateway", "worker", "reconcile", "server"):
            _stop(state.get(part))
            state.pop(part, None)
        _write_state(home, state)


def find() -> Embedded | None:
    """The embedded set-up when its server answers."""
    home = _home(create=False)
    state = _read_state(home)
    port = state.get("port", {}).get("number")
    if not port or not _runs(state, port):
        return None
    return _embedded(home, port)


@contextlib.contextmanager
def private() -> Iterator[str]:
    """The API's URL of a server for this process alone, gone when the block ends or the process dies."""
    home = Path(tempfile.mkdtemp(prefix="codepipeline-run-"))
    port = _free_port()
    server = _spawn(home, "server", _server_command(port), _url(port), dies_with_parent=True)
    before = os.environ.get("PREFECT_HOME")
    unless_told = signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(143)
    )  # what is made here is removed then too
    try:
        _wait_until_healthy(home, _url(port), server)
        os.environ["PREFECT_HOME"] = str(home / "prefect")
        yield _url(port)
    finally:
        signal.signal(signal.SIGTERM, unless_told)
        _stop(_identity(server.pid))
        server.wait()
        shutil.rmtree(home, ignore_errors=True)
        if before is None:
            os.environ.pop("PREFECT_HOME", None)
        else:
            os.environ["PREFECT_HOME"] = before


def point_at(api_url: str) -> None:
    """Have this process, whatever it has imported, talk to that API from now on."""
    os.environ["PREFECT_API_URL"] = api_url
    os.environ["NO_PROXY"] = _no_proxy()
    if "prefect.context" in sys.modules:
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()


def _no_proxy() -> str:
    """What no proxy is asked for, with this machine's own addresses."""
    before = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
    return ",".join(dict.fromkeys([*filter(None, before.split(",")), "127.0.0.1", "localhost"]))


State = dict[str, Any]


def _home(create: bool = True) -> Path:
    home = Path(
        os.environ.get(HOME_VARIABLE) or platformdirs.user_data_path("prefect-codepipeline")
    ).absolute()
    if create:
        (home / "logs").mkdir(parents=True, exist_ok=True)
        (home / "prefect").mkdir(parents=True, exist_ok=True, mode=0o700)
    return home


@contextlib.contextmanager
def _locked(home: Path) -> Iterator[None]:
    """Two who start it at once take turns; the second finds it running."""
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _read_state(home: Path) -> State:
    try:
        state: State = json.loads((home / "state.json").read_text())
    except (OSError, ValueError):
        return {}
    return state


def _write_state(home: Path, state: State) -> None:
    part = home / "state.json.part"
    part.write_text(json.dumps(state))
    os.replace(part, home / "state.json")


def _start_server(home: Path, state: State) -> int:
    port: int = state.get("port", {}).get("number", 0)
    if port and _runs(state, port):
        return port
    _stop(state.get("server"))
    port = port if port and _is_free(port) else _free_port()
    server = _spawn(home, "server", _server_command(port), _url(port))
    state["port"] = {"number": port}
    state["server"] = _identity(server.pid)
    _write_state(home, state)
    _wait_until_healthy(home, _url(port), server)
    return port


def _server_command(port: int) -> list[str]:
    return ["-m", "prefect_codepipeline.deployments.server_process", str(port)]


def _make_pool(home: Path, api_url: str) -> None:
    """The work pool; made over HTTP, so that nothing of Prefect need be imported here."""
    if _request(f"{api_url}/work_pools/{POOL}") is not None:
        return
    from prefect_codepipeline.deployments.worker.worker import CodePipelineWorker

    body = {
        "name": POOL,
        "type": POOL,
        "base_job_template": CodePipelineWorker.get_default_base_job_template(),
    }
    if _request(f"{api_url}/work_pools/", body) is None and _request(f"{api_url}/work_pools/{POOL}") is None:
        log = home / "logs" / "server.log"
        raise PrefectUnavailable(f"the work pool {POOL!r} could not be made at {api_url}; see {log}")


def _start(home: Path, state: State, part: str, arguments: list[str], api_url: str) -> None:
    """Start a part, unless it runs already: the same code, with the same arguments, against the same server."""
    started_as = [fingerprint(), api_url, *arguments]
    if _is_alive(state.get(part)) and state.get(f"{part}-started-as") == started_as:
        return
    _stop(state.get(part))
    process = _spawn(home, part, arguments, api_url)
    state[part] = _identity(process.pid)
    state[f"{part}-started-as"] = started_as
    _write_state(home, state)


def _spawn(
    home: Path, part: str, arguments: list[str], api_url: str, dies_with_parent: bool = False
) -> subprocess.Popen[bytes]:
    (home / "logs").mkdir(parents=True, exist_ok=True)
    environment = {key: value for key, value in os.environ.items() if not _misleads(key)}
    # The browser is told by the server where its API is; the port on the command line does not tell it.
    environment |= {**_TUNING, "PREFECT_HOME": str(home / "prefect"), "PREFECT_SERVER_UI_API_URL": api_url}
    environment["NO_PROXY"] = _no_proxy()
    database = environment.pop(DATABASE_VARIABLE, None)
    if part != "server":
        environment["PREFECT_API_URL"] = api_url
    elif database:
        environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = database

    parent = os.getpid()

    def prepare() -> None:
        # A process started in the background of a script ignores SIGINT, and its children would too.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if dies_with_parent:
            die_with_parent(signal.SIGTERM, parent)

    path = home / "logs" / f"{part}.log"
    if path.exists():  # why the one before has ended
        path.replace(path.with_suffix(".log.1"))
    with path.open("wb") as log:
        return subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=home,
            env=environment,
            start_new_session=True,
            preexec_fn=prepare,
        )


def _misleads(name: str) -> bool:
    """Whether a variable is about another Prefect than this one."""
    return name.startswith("PREFECT_") and not name.startswith("PREFECT_CODEPIPELINE_")


def _embedded(home: Path, port: int) -> Embedded:
    return Embedded(api_url=_url(port), ui_url=f"http://127.0.0.1:{port}", home=home)


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}/api"


def _runs(state: State, port: int) -> bool:
    """Whether the server lives and answers; a busy disk holds it up now and then, which is waited for."""
    return _answers(lambda: _is_healthy(_url(port)), lambda: _is_alive(state.get("server")), BUSY_SECONDS)


def _answers(asked: Callable[[], bool], lives: Callable[[], bool], seconds: float) -> bool:
    """Whether a part answers within so long; who is dead is not asked, another may have its port by then."""
    deadline = time.monotonic() + seconds
    while lives():
        if asked():
            return True
        if time.monotonic() > deadline:
            break
        time.sleep(0.1)
    return False


def _is_healthy(api_url: str) -> bool:
    return _request(f"{api_url}/health") is True


def _request(url: str, body: object = None) -> object:
    """The decoded answer, None when there is none. The address is this machine's, so no proxy is asked."""
    text = _request_text(url, None if body is None else json.dumps(body).encode())
    try:
        answer: object = json.loads(text or "")
        return answer
    except ValueError:
        return None


def _request_text(url: str, data: bytes | None = None) -> str | None:
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=5) as response:
            text: str = response.read().decode()
            return text
    except (OSError, ValueError, urllib.error.URLError):
        return None


def _wait_until_healthy(home: Path, api_url: str, server: subprocess.Popen[bytes]) -> None:
    if not _answers(lambda: _is_healthy(api_url), lambda: server.poll() is None, START_SECONDS):
        log = (home / "logs" / "server.log").read_text(errors="replace").strip()
        _stop(_identity(server.pid))
        raise PrefectUnavailable(
            f"Prefect's server did not start; the end of {home / 'logs' / 'server.log'}:\n{log[-2000:]}"
        )


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _identity(pid: int) -> dict[str, int]:
    return {"pid": pid, "started": _start_time(pid) or 0}


def _start_time(pid: int) -> int | None:
    """When a process started, in its system's own ticks, so that a pid used again is not taken for the same."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return _start_time_by_ps(pid)
    return None if fields[0] == "Z" else int(fields[19])


def _start_time_by_ps(pid: int) -> int | None:
    if sys.platform == "linux":
        return None
    answer = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    text = answer.stdout.strip()
    return int(time.mktime(time.strptime(text))) if text else None


def _is_alive(identity: dict[str, int] | None) -> bool:
    return bool(identity) and identity is not None and _start_time(identity["pid"]) == identity["started"]


def _stop(identity: dict[str, int] | None) -> None:
    """End a process and the session it leads: asked first, killed when it does not listen."""
    if identity is None or not _is_alive(identity):
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            if number == signal.SIGTERM:
                os.kill(identity["pid"], number)
            else:
                os.killpg(identity["pid"], number)
        deadline = time.monotonic() + STOP_SECONDS
        while _is_alive(identity) and time.monotonic() < deadline:
            time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(identity["pid"], signal.SIGKILL)
