"""The commands of docs/triggers.md print the output in the page."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from commands import run_command
from prefect.client.schemas.actions import WorkPoolCreate
from pydantic import SecretStr
from serving import serving

from prefect_codepipeline.cli.setup.blocks import add_connection
from prefect_codepipeline.cli.triggers.connection_pushes import set_pushes
from prefect_codepipeline.cli.triggers.trigger import list_deliveries
from prefect_codepipeline.cli.triggers.webhook import add_webhook
from prefect_codepipeline.deployments.create import deploy_pipeline
from prefect_codepipeline.deployments.delete import delete_pipeline
from prefect_codepipeline.engine.executions.lookup import find_runs
from prefect_codepipeline.engine.triggers.deliveries import find_endpoint
from prefect_codepipeline.engine.triggers.pipeline_webhooks import delete_webhook
from prefect_codepipeline.engine.triggers.webhook_inbox import waiting
from prefect_codepipeline.engine.triggers.webhook_signatures import sign
from prefect_codepipeline.gateway.app import create_app
from prefect_codepipeline.gateway.serve import prepare_gateway
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.prefect_api.client import client

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "triggers.md").read_text(encoding="utf-8")


def test_the_page_prints_what_it_says(tmp_path: Path) -> None:
    blocks = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]
    requests, event, request, pushes = blocks
    of_fork, of_push = (
        block for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL) if "trigger test" in block
    )
    fork = {**request["pullRequest"], "sourceRepository": "evil/site"}
    for name, content in {
        "event": event,
        "own": {**request, "changedFiles": ["ci.sh"]},
        "fork": {**request, "pullRequest": fork, "changedFiles": ["ci.sh"]},
    }.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))

    _write_pipeline(tmp_path, requests)
    _check_session(tmp_path, of_fork, [1])
    own = _codepipeline(tmp_path, "trigger test site.json --event own.json")
    assert (own.returncode, "site starts, with trigger WebhookV2" in own.stdout) == (0, True)
    (tmp_path / "site.settings.yaml").write_text("pull_requests_of_forks: always\n")
    allowed = _codepipeline(tmp_path, "trigger test site.json --event fork.json")
    assert allowed.returncode == 0, allowed.stdout

    _write_pipeline(tmp_path, pushes)
    _check_session(tmp_path, of_push, [1, 0])


def _check_session(folder: Path, block: str, codes: list[int]) -> None:
    """The commands of a block of the page end with these codes and print what the page says."""
    session = re.split(r"^\$ codepipeline ", block, flags=re.MULTILINE)[1:]
    for step, code in zip(session, codes, strict=True):
        command, _, expected = step.partition("\n")
        done = _codepipeline(folder, command)
        assert (done.returncode, done.stdout) == (code, expected), done.stderr


def _codepipeline(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    return run_command(command.split(), cwd=folder)


def _write_pipeline(folder: Path, trigger: Any) -> None:
    kind = {"owner": "AWS", "version": "1"}
    source = {"ConnectionArn": "github", "FullRepositoryId": "acme/site", "BranchName": "main"}
    checkout = {
        "name": "Checkout",
        "actionTypeId": {"category": "Source", "provider": "CodeStarSourceConnection", **kind},
        "configuration": source,
        "outputArtifacts": [{"name": "Code"}],
    }
    build = {
        "name": "Build",
        "actionTypeId": {"category": "Build", "provider": "CodeBuild", **kind},
        "configuration": {"ProjectName": "site"},
        "inputArtifacts": [{"name": "Code"}],
    }
    pipeline = {
        "name": "site",
        "roleArn": "arn:aws:iam::111122223333:role/any",
        "pipelineType": "V2",
        "artifactStore": {"type": "S3", "location": "any-bucket"},
        "stages": [{"name": "Source", "actions": [checkout]}, {"name": "Build", "actions": [build]}],
        "triggers": [trigger],
    }
    (folder / "site.json").write_text(json.dumps(pipeline))


@pytest.mark.live
def test_the_page_leads_from_a_connection_to_a_running_trigger(
    prefect_server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page's commands work in their order, with a repository and a gateway on this machine."""
    name = f"page-{uuid4().hex[:8]}"
    webhook = json.loads(re.search(r"^\$ cat webhook.json\n(.*?)\n\$", PAGE, re.DOTALL | re.MULTILINE)[1])
    webhook["webhook"] |= {"name": name, "targetPipeline": name}
    (tmp_path / "webhook.json").write_text(json.dumps(webhook))
    [curl] = re.findall(r"```sh\ncurl (.*?)```", PAGE, re.DOTALL)
    plain = json.loads(re.search(r"-d '(.*?)'", curl)[1])
    client().create_work_pool(WorkPoolCreate(name=name, type="process"))

    with serving(create_app()) as url:
        prepare_gateway(url)
        add_connection(name, url="https://github.com/{FullRepositoryId}.git")
        deploy_pipeline(PipelineDeclaration.model_validate(_pipeline(name)), name)
        capsys.readouterr()
        set_pushes(name)
        printed = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()[:2])
        secret = printed["Secret"].split()[0]
        add_webhook(tmp_path / "webhook.json")
        put_url = capsys.readouterr().out.strip()

        assert printed["URL"] == f"{url}/webhooks/{name}"
        pushed = httpx.post(printed["URL"], json=plain, headers={"X-Codepipeline-Token": secret}, timeout=30)
        body = json.dumps({"ref": "refs/heads/main"}).encode()
        signature = {"X-Hub-Signature-256": sign(SecretStr("a-long-secret-of-your-own"), body)}
        old = httpx.post(put_url, content=body, headers=signature, timeout=30)
        assert (pushed.status_code, old.status_code) == (202, 202), (pushed.text, old.text)
        until = time.monotonic() + 60
        while len(find_runs(name)) < 2:
            assert time.monotonic() < until
            time.sleep(0.05)
        while waiting():
            assert time.monotonic() < until
            time.sleep(0.05)
    capsys.readouterr()
    list_deliveries()
    deliveries = capsys.readouterr().out
    what = f"push to branch 'main' of acme/site at {plain['commit'][:12]}"
    assert f"{name}  {what}: {name} started, execution " in deliveries
    set_pushes(name, off=True)
    assert find_endpoint(name) is None
    for run in find_runs(name):
        client().delete_flow_run(run["id"])
    delete_pipeline(name)
    delete_webhook(name)
    for command in re.findall(r"^\$ codepipeline ([a-z]+(?: [a-z]+)?)", PAGE, re.MULTILINE):
        assert resolves(command), command


def resolves(command: str) -> bool:
    """Whether the command line has this command."""
    from prefect_codepipeline.cli import app

    return bool(app.parse_commands(command.split())[0])


def _pipeline(name: str) -> dict[str, Any]:
    kind = {"owner": "AWS", "version": "1"}
    checkout = {
        "name": "Checkout",
        "actionTypeId": {"category": "Source", "provider": "CodeStarSourceConnection", **kind},
        "configuration": {"ConnectionArn": name, "FullRepositoryId": "acme/site", "BranchName": "main"},
        "outputArtifacts": [{"name": "Code"}],
    }
    scripted = {"category": "Test", "owner": "Custom", "provider": "Scripted", "version": "1"}
    return {
        "name": name,
        "roleArn": "arn:aws:iam::111122223333:role/any",
        "pipelineType": "V2",
        "artifactStore": {"type": "S3", "location": "any-bucket"},
        "stages": [
            {"name": "Source", "actions": [checkout]},
            {"name": "Test", "actions": [{"name": "Test", "actionTypeId": scripted}]},
        ],
    }
