"""A Prefect server of the session's own, and the provider that tests order about."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest_plugins = ["git_repositories", "world", "moto_fixtures", "recorded_programs"]  # of tests/support
PLUGIN = Path(__file__).parent / "plugin"


def pytest_configure(config: pytest.Config) -> None:
    # In the background of a shell it is ignored, also by the workers that a test starts: they could not be stopped.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Here and in every process that a test starts, `Test/Custom/Scripted/1` is found by its entry point.
    sys.path.insert(0, str(PLUGIN))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PLUGIN), os.environ.get("PYTHONPATH")]))
    # Without compiled modules, each process compiles all of Prefect again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    _keep_the_users_own_out(config)


def pytest_collection(session: pytest.Session) -> None:
    # Whatever is imported and collected stays until the end: to look for garbage among it takes each worker a second.
    gc.disable()


def pytest_collection_finish(session: pytest.Session) -> None:
    gc.freeze()
    gc.enable()


FIRST = (
    "test_chaos.py",
    "test_crash.py",
    "test_database.py",
    "test_ports.py",
    "test_tutorial.py",
    "test_worker.py",
    "test_gateway_crowd.py",
    "test_aws_work.py",
    "test_operations.py",
    "test_public_pipelines.py",
    "test_modes.py",
    "test_hello.py",
    "test_without_prefect.py",
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests marked `long` run when they are asked for; of the others, what takes a while begins first."""
    if "long" not in config.option.markexpr:
        named = {Path(argument.split("::")[0]).resolve() for argument in config.args}
        left_out = [item for item in items if item.get_closest_marker("long") and item.path not in named]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]
    # Nobody is to wait for it in the end.
    items.sort(key=lambda item: FIRST.index(item.path.name) if item.path.name in FIRST else len(FIRST))


def _keep_the_users_own_out(config: pytest.Config) -> None:
    """What the user has configured must not be what is tested, nor the user's Prefect what tests write to."""
    # A test run that a git hook starts finds the hook's repository in its environment.
    hook = subprocess.run(
        ["git", "rev-parse", "--local-env-vars"], capture_output=True, text=True, check=True
    )
    users = ("PREFECT_", "AWS_")
    for name in [name for name in os.environ if name.startswith(users) or name in hook.stdout.split()]:
        del os.environ[name]
    home = tempfile.mkdtemp(prefix="codepipeline-test-")
    config.add_cleanup(lambda: shutil.rmtree(home, ignore_errors=True))
    os.environ.update(
        DO_NOT_TRACK="1", PREFECT_SERVER_ANALYTICS_ENABLED="false", PREFECT_LOGGING_LEVEL="WARNING",
        # Without a home of its own, Prefect takes the profile that is active in the user's.
        PREFECT_HOME=f"{home}/prefect", PREFECT_CODEPIPELINE_HOME=f"{home}/embedded",
        PREFECT_CODEPIPELINE_CACHE=f"{home}/cache", PREFECT_CODEPIPELINE_ARTIFACTS=f"{home}/artifacts",
        GIT_CONFIG_GLOBAL=os.devnull, GIT_CONFIG_NOSYSTEM="1",
        # So that neither a test nor the session's worker ever uses the user's account of AWS.
        AWS_ACCESS_KEY_ID="testing", AWS_SECRET_ACCESS_KEY="testing-secret",
        # Looks at work in AWS are not to wait for those of other tests.
        PREFECT_CODEPIPELINE_AWS_REQUESTS="1000000",
        AWS_CONFIG_FILE=os.devnull, AWS_SHARED_CREDENTIALS_FILE=os.devnull, AWS_EC2_METADATA_DISABLED="true",
    )  # fmt: skip


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The API's URL of an embedded set-up of the session's own: server and worker. Tests reconcile when they mean to."""
    home = Path(
        tempfile.mkdtemp(dir=os.environ.get("CODEPIPELINE_TEST_HOMES") or tmp_path_factory.mktemp("embedded"))
    )
    os.environ.update(
        PREFECT_CODEPIPELINE_HOME=str(home),
        PREFECT_CODEPIPELINE_ARTIFACTS=str(home / "artifacts"),
        PREFECT_CODEPIPELINE_RECONCILE_SECONDS="3600",
        PREFECT_CODEPIPELINE_POLL_SECONDS="0",
        PREFECT_CODEPIPELINE_WAIT_SECONDS="3",
        PREFECT_HOME=str(home / "prefect"),
    )
    from world import PLANTED

    from prefect_codepipeline.deployments.local import api_url, embedded

    os.environ["OF_THE_WORKER"] = PLANTED
    running = embedded.up(limit=4)
    del os.environ["OF_THE_WORKER"]
    api_url.point_at(running.api_url, running.profiles)
    yield running.api_url
    embedded.down()


@pytest.fixture
def no_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No server is configured, whether an earlier test of this process has started the session's or not."""
    from prefect.context import refresh_global_settings_context

    from prefect_codepipeline.prefect_api.settings import forget_files

    def forget() -> None:
        forget_files()
        refresh_global_settings_context()

    for name in ("PREFECT_API_URL", "PREFECT_PROFILES_PATH"):
        monkeypatch.delenv(name, raising=False)
    forget()
    yield
    monkeypatch.undo()
    forget()


@pytest.fixture
def slack_server() -> Iterator[Any]:
    """A server that speaks Slack's API and checks what it is sent; `token` is what it lets in."""
    from slack_server import APP_TOKEN, SIGNING_SECRET, TOKEN, SlackServer

    server = SlackServer()
    server.token, server.APP_TOKEN, server.SIGNING_SECRET = TOKEN, APP_TOKEN, SIGNING_SECRET
    yield server
    server.stop()


@pytest.fixture
def event_receiver() -> Iterator[Any]:
    """A URL that takes events and checks their signatures; `SECRET` is the key."""
    from event_receiver import SECRET, EventReceiver

    receiver = EventReceiver()
    receiver.SECRET = SECRET
    yield receiver
    receiver.stop()


@pytest.fixture
def wait_for() -> Callable[..., None]:
    def wait(condition: Callable[[], object], seconds: float = 10) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.01)

    return wait
