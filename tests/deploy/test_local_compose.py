"""The set-up of deploy/compose.yaml, as processes of this machine: a pipeline runs through it, whatever is killed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from local_compose import BIN, ROOT, LocalCompose, missing_programs
from waiting import until

AWAY_SECONDS = 60
pytestmark = [pytest.mark.live, pytest.mark.long, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCompose]:
    if missing := missing_programs():
        pytest.skip(f"not on this machine: {', '.join(missing)}")
    running = LocalCompose(tmp_path_factory.mktemp("compose"))
    try:
        running.start_all()
        yield running
    finally:
        running.stop_all()


class User:
    """Somebody at a terminal who has the password."""

    def __init__(self, compose: LocalCompose) -> None:
        self.compose = compose
        self.home = compose.folder / "user"
        self.home.mkdir(exist_ok=True)
        secret = (compose.folder / "secrets/api_auth_string").read_text()
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")},
            "HOME": str(self.home),
            "PREFECT_HOME": str(self.home / ".prefect"),
            "PREFECT_API_URL": f"{compose.prefect_url}/api",
            "PREFECT_API_AUTH_STRING": secret,
            "NO_PROXY": "*",
        }

    def try_to_run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [str(BIN / "codepipeline"), *words]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)

    def run(self, *words: str) -> str:
        done = self.try_to_run(*words)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def user(compose: LocalCompose) -> User:
    """A user who has deployed the example, from a repository that the workers reach."""
    user = User(compose)
    repository = compose.folder / "git/examples/hello"
    shutil.copytree(ROOT / "examples/hello", repository)
    git = ["git", "-C", str(repository), "-c", "user.name=T", "-c", "user.email=t@example.invalid"]
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "Hello"]):
        subprocess.run([*git, *words], check=True)
    definition = json.loads((repository / "pipeline.json").read_text())["pipeline"]
    arn = definition["stages"][0]["actions"][0]["configuration"]["ConnectionArn"]
    url = f"{compose.folder}/git/{{FullRepositoryId}}"
    user.run("connection", "add", "examples", "--url", url, "--arn", arn)
    user.run("deploy", str(repository / "pipeline.json"))
    return user


def start(user: User, publish_to: Path) -> str:
    out = user.run("start", "hello", "--variable", f"PublishTo={publish_to}", "--json")
    return str(json.loads(out)["pipelineExecutionId"])


def approve_at_gateway(user: User, execution_id: str) -> None:
    """What a browser does with the link, once the execution waits for the approval."""

    def link() -> str | None:
        done = user.try_to_run("approval-link", "hello", "--execution", execution_id, "--json")
        return str(json.loads(done.stdout)["url"]) if done.returncode == 0 else None

    url = until(link, 180, lambda: user.run("status", "hello", "--execution", execution_id))
    assert url.startswith(user.compose.gateway_url)
    with httpx.Client(follow_redirects=True, timeout=60, trust_env=False) as browser:
        token = re.search(r'name="form_token" value="([^"]+)"', browser.get(url).text)
        assert token
        answer = browser.post(url, data={"form_token": token[1], "decision": "Approved"})
        assert answer.status_code == 200, answer.text


def wait_for_success(user: User, execution_id: str, publish_to: Path) -> None:
    def status() -> str | None:
        shown = user.try_to_run("status", "hello", "--execution", execution_id, "--json")
        found = str(json.loads(shown.stdout)["status"]) if shown.returncode == 0 else "InProgress"
        return None if found == "InProgress" else found

    def seen() -> str:
        return user.run("status", "hello", "--execution", execution_id)

    assert until(status, 240, seen) == "Succeeded", seen()
    assert (publish_to / "current/release.json").exists()


def test_a_pipeline_runs_through_the_set_up(user: User, tmp_path: Path) -> None:
    execution_id = start(user, tmp_path / "production")
    approve_at_gateway(user, execution_id)
    wait_for_success(user, execution_id, tmp_path / "production")
    for name in ("server-1", "server-2", "services"):
        assert "Connect call failed" not in user.compose.log(name), (
            "a part of Prefect has no address of Redis"
        )


@pytest.mark.parametrize("victim", ["server-1", "worker-1"])
def test_an_execution_ends_although_one_of_two_is_killed(victim: str, user: User, tmp_path: Path) -> None:
    """The part is killed right after the start, and starts again once the execution waits for its approval."""
    execution_id = start(user, tmp_path / "production")
    user.compose.kill(victim)
    approve_at_gateway(user, execution_id)
    user.compose.start(victim)
    wait_for_success(user, execution_id, tmp_path / "production")


@pytest.mark.parametrize("victim", ["redis", "postgres"])
def test_an_execution_continues_when_what_all_need_was_away(victim: str, user: User, tmp_path: Path) -> None:
    """Killed right after the start, and started again a minute later. What was written before is still there."""
    execution_id = start(user, tmp_path / "production")
    user.compose.kill(victim)
    time.sleep(AWAY_SECONDS)
    user.compose.start(victim)
    approve_at_gateway(user, execution_id)
    wait_for_success(user, execution_id, tmp_path / "production")
