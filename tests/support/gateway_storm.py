"""Pushes and decisions while the gateway is killed and the server does not answer: what was answered with 2xx happens once."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from typing import Any

import httpx
from pydantic import SecretStr
from set_up import SetUp

from prefect_codepipeline.engine.triggers.webhook_signatures import sign

SECRET = SecretStr("planted-secret-of-a-storm")
DECISIONS = ("Approved", "Rejected")
REST_SECONDS = 0.2


def gateway_storm(set_up: SetUp, kills: int, away_seconds: float, seed: int) -> str:
    """Kill the gateway `kills` times, pause the server and then kill it; return a summary.

    Meanwhile five pushes per second are sent, and `2 * kills` approvals are decided.

    Raises:
        AssertionError: a push or decision that was answered with 2xx had no effect, or had it twice.
    """
    chance = random.Random(seed)
    set_up.cli("up", "--gateway")
    _prepare(set_up)
    links = _ask(set_up, 2 * kills)
    pushes, decisions = _Pushes(set_up), _Decisions(set_up, links)
    with pushes, decisions:
        for number in range(kills):
            time.sleep(chance.uniform(0.5, 3.0))  # a random moment
            os.kill(set_up.state["gateway"]["pid"], signal.SIGKILL)
            if number == kills // 2:
                _start_without_server(set_up, away_seconds)
            else:
                set_up.cli("up")
        os.kill(set_up.state["server"]["pid"], signal.SIGKILL)
        set_up.cli("up")
        set_up.wait(lambda: decisions.are_made, 120)
    set_up.wait(lambda: _waiting(set_up) == 0, 120)
    set_up.cli("up", "--no-gateway")
    started = _started(set_up)
    assert not pushes.other_answers, pushes.other_answers
    assert pushes.taken, "no push was accepted at all"
    lost, twice = pushes.taken - started.keys(), [commit for commit, times in started.items() if times > 1]
    assert not lost, f"answered with 202 and lost: {lost}"
    assert not twice, f"started twice: {twice}"
    for execution_id, decision in decisions.made.items():
        expected = "Succeeded" if decision == "Approved" else "Failed"
        set_up.wait(lambda known=execution_id, end=expected: _ended(set_up, known) == end, 120)
    return (
        f"{kills} kills of the gateway, the server paused for {away_seconds:g} s and then killed: of {pushes.sent} pushes "
        f"{len(pushes.taken)} were answered with 202, {len(started)} started, each once; "
        f"all {len(decisions.made)} decisions count"
    )


def _start_without_server(set_up: SetUp, seconds: float) -> None:
    """Start the killed gateway while the server does not answer for `seconds`."""
    server = set_up.state["server"]["pid"]
    command = threading.Thread(target=set_up.cli, args=("up",))
    command.start()
    os.kill(server, signal.SIGSTOP)
    time.sleep(seconds)  # the length of the outage, not a wait for something
    os.kill(server, signal.SIGCONT)
    command.join()


class _Repeating(ABC):
    """Repeats a request in a separate thread until the `with` block ends."""

    def __init__(self, set_up: SetUp) -> None:
        self._set_up = set_up
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(REST_SECONDS):
            try:
                self._do(f"http://127.0.0.1:{self._set_up.state['gateway-kept']['port']}")
            except httpx.HTTPError:  # the gateway does not run, or was killed during the request
                continue

    @abstractmethod
    def _do(self, url: str) -> None:
        """Send the request once, to the gateway at this address."""


class _Pushes(_Repeating):
    """`taken` has the commits of the pushes that were answered with 202."""

    def __init__(self, set_up: SetUp) -> None:
        super().__init__(set_up)
        self.sent = 0
        self.taken: set[str] = set()
        self.other_answers: list[str] = []

    def _do(self, url: str) -> None:
        self.sent += 1
        commit = f"{self.sent:040x}"
        body = json.dumps(
            {
                "ref": "refs/heads/main",
                "before": "0" * 40,
                "after": commit,
                "repository": {"full_name": "acme/storm"},
            }
        ).encode()
        headers = {
            "X-GitHub-Event": "push",
            "X-GitHub-Delivery": commit,
            "X-Hub-Signature-256": sign(SECRET, body),
        }
        answer = httpx.post(f"{url}/webhooks/storm", content=body, headers=headers, timeout=30)
        if answer.status_code == 202:
            self.taken.add(commit)
        elif answer.status_code != 503:
            self.other_answers.append(answer.text)


class _Decisions(_Repeating):
    """Decides one approval after another on its page; `made` has the decisions that were answered with 2xx, by execution."""

    def __init__(self, set_up: SetUp, links: dict[str, str]) -> None:
        super().__init__(set_up)
        self._left = list(links.items())
        self.made: dict[str, str] = {}

    @property
    def are_made(self) -> bool:
        return not self._left

    def _do(self, url: str) -> None:
        if not self._left:
            return
        execution_id, link = self._left[0]
        decision = DECISIONS[len(self._left) % 2]
        with httpx.Client(follow_redirects=True, timeout=30) as browser:
            page = browser.get(url + link)
            token = re.search(r'name="form_token" value="([^"]+)"', page.text)
            if token:
                fields = {"form_token": token[1], "decision": decision, "name": "Ana"}
                page = browser.post(url + link, data=fields)
            # The page shows the decision: from this request, or from an earlier one whose response was lost.
            if page.is_success and decision in page.text:
                self.made[execution_id] = decision
                self._left.pop(0)
                self._ended.wait(1)


def _prepare(set_up: SetUp) -> None:
    """Deploy a pipeline for pushes, whose executions no worker runs, and one for decisions."""
    kind = {"category": "Test", "owner": "Custom", "provider": "Scripted", "version": "1"}
    source = {
        "name": "Src",
        "actionTypeId": {"category": "Source", "owner": "AWS", "provider": "CodeStarSourceConnection", "version": "1"},
        "configuration": {"ConnectionArn": "storm", "FullRepositoryId": "acme/storm", "BranchName": "main"},
        "outputArtifacts": [{"name": "Source"}],
    }  # fmt: skip
    approval = {**kind, "category": "Approval", "owner": "AWS", "provider": "Manual"}
    _declare(set_up, "pushes", source, {"name": "Test", "actionTypeId": kind}, executionMode="SUPERSEDED")
    scripted = {"name": "Src", "actionTypeId": {**kind, "category": "Source"}}
    _declare(
        set_up, "decisions", scripted, {"name": "Ok", "actionTypeId": approval}, executionMode="PARALLEL"
    )
    set_up.python(
        "from pydantic import SecretStr\n"
        "from prefect.client.schemas.actions import WorkPoolCreate\n"
        "from prefect_codepipeline.blocks.git_connection import GitConnection\n"
        "from prefect_codepipeline.deployments.create import deploy_pipeline\n"
        "from prefect_codepipeline.model.definition.declaration import PipelineDeclaration\n"
        "from prefect_codepipeline.prefect_api.client import client\n"
        "client().create_work_pool(WorkPoolCreate(name='nobody', type='process'))\n"
        f"GitConnection(url_template='/nowhere', webhook_secret=SecretStr({SECRET.get_secret_value()!r}), host_kind='github').save('storm')\n"
        f"read = lambda name: PipelineDeclaration.model_validate_json(open({str(set_up.folder)!r} + f'/{{name}}.json').read())\n"
        "deploy_pipeline(read('pushes'), 'nobody')\n"
        "deploy_pipeline(read('decisions'))\n"
    )


def _declare(set_up: SetUp, name: str, source: dict[str, Any], action: dict[str, Any], **more: Any) -> None:
    declared = {
        "name": name,
        "roleArn": "arn:aws:iam::111122223333:role/p",
        "pipelineType": "V2",
        "artifactStore": {"type": "S3", "location": "bucket"},
        "stages": [{"name": "Source", "actions": [source]}, {"name": "S1", "actions": [action]}],
        **more,
    }
    (set_up.folder / f"{name}.json").write_text(json.dumps(declared))


def _ask(set_up: SetUp, count: int) -> dict[str, str]:
    """Start `count` executions; return the paths of their approval links, by execution."""
    for _ in range(count):
        set_up.cli("start", "decisions")
    program = (
        "from prefect_codepipeline.engine.approvals.links import approval_link, load_gateway\n"
        "from prefect_codepipeline.engine.executions.lookup import find_runs, read_execution\n"
        "known = [read_execution(run['id']) for run in find_runs('decisions', limit=200)]\n"
        "asked = {each.id: each.state.open_approvals[0][1].request for each in known if each.is_suspended and each.state.open_approvals}\n"
        "link = lambda id, each: approval_link(load_gateway(), id, each.token, each.expires_at)\n"
        "print(json.dumps({id: link(id, each) for id, each in asked.items()}))"
    )
    found: dict[str, str] = {}

    def are_asked() -> bool:
        found.update(json.loads(set_up.python(program)))
        return len(found) == count

    set_up.wait(are_asked, 120)
    return {execution_id: httpx.URL(link).raw_path.decode() for execution_id, link in found.items()}


def _started(set_up: SetUp) -> Counter[str]:
    """The number of executions of each commit."""
    program = (
        "from prefect_codepipeline.engine.executions.lookup import find_runs\n"
        "runs, page = [], [0]\n"
        "while page: runs += (page := find_runs('pushes', limit=200, offset=len(runs)))\n"
        "print(json.dumps([run['parameters']['source_revisions']['Src'] for run in runs]))"
    )
    return Counter(json.loads(set_up.python(program)))


def _waiting(set_up: SetUp) -> int:
    """The number of deliveries that are not processed yet."""
    program = "from prefect_codepipeline.engine.triggers.webhook_inbox import waiting\nprint(len(waiting()))"
    return int(set_up.python(program))


def _ended(set_up: SetUp, execution_id: str) -> str:
    statuses = {each["pipelineExecutionId"]: str(each["status"]) for each in set_up.executions("decisions")}
    return statuses[execution_id]
