"""The command as a user types it: what it prints, how it exits, and never a traceback for a mistake."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from commands import run_command
from set_up import texts_of

ROOT = Path(__file__).parent.parent.parent
PACKAGE = "prefect_codepipeline"
HELLO = ROOT / "examples" / "hello" / "pipeline.json"


def cli(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return run_command(arguments, **more)


def nowhere(tmp_path: Path) -> dict[str, str]:
    """An environment with no server configured and none running."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    return {
        **kept,
        "PREFECT_CODEPIPELINE_HOME": str(tmp_path / "none"),
        "PREFECT_HOME": str(tmp_path / "prefect"),
    }


def test_help_lists_every_verb_and_imports_no_prefect() -> None:
    done = cli("--help")

    assert done.returncode == 0
    verbs = (
        "run",
        "up",
        "down",
        "deploy",
        "start",
        "status",
        "executions",
        "approve",
        "reject",
        "logs",
        "validate",
    )
    for verb in (*verbs, "connection", "slack", "secret"):
        assert verb in done.stdout
    code = "import sys; from prefect_codepipeline.cli import app; sys.exit('prefect' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_commands_that_ask_about_executions_import_no_prefect() -> None:
    """Also what they import when they are called; tests/cli/test_without_prefect.py runs them."""
    names = {f"{PACKAGE}.cli.triggers.schedule"}
    verbs = (
        "approve",
        "as_json",
        "logs",
        "open_",
        "pipeline_view",
        "release",
        "start",
        "status",
        "tree",
        "watch",
    )
    for path in [*(f"executions/{verb}" for verb in verbs), "setup/kept_blocks"]:
        tree = ast.parse((ROOT / PACKAGE / "cli" / f"{path}.py").read_text())
        names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    imports = "\n".join(f"import {name}" for name in sorted(names) if name.startswith(PACKAGE))
    code = f"{imports}\nimport sys; sys.exit('prefect' in sys.modules)"

    assert len(names) > 20
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("verb", ["run", "deploy", "start", "status", "approve", "logs", "validate", "up"])
def test_each_verb_explains_itself(verb: str) -> None:
    done = cli(verb, "--help")

    assert done.returncode == 0
    assert "Usage: codepipeline" in done.stdout


def test_validate_lists_every_problem_and_exits_with_1(tmp_path: Path) -> None:
    content = json.loads(HELLO.read_text())
    content["pipeline"]["pipelineType"] = "V1"
    content["pipeline"]["stages"][1]["actions"][0]["inputArtifacts"][0]["name"] = "SourceOutpt"
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(content))

    done = cli("validate", str(HELLO), str(path))

    assert done.returncode == 1
    assert f"{HELLO}: error" not in done.stdout
    assert "can only be used with V2 pipelines" in done.stdout
    assert "did you mean 'SourceOutput'?" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["deploy", "nowhere.json"], "nowhere.json: No such file", id="no such file"),
        pytest.param(["deploy"], "deploy takes one or more files", id="no file"),
        pytest.param(["deploy", "BROKEN"], "not JSON", id="broken JSON"),
        pytest.param(["run", "BROKEN"], "not JSON", id="run of broken JSON"),
        pytest.param(
            ["run", "HELLO", "--variable", "x"], "--variable takes NAME=VALUE", id="variable without a value"
        ),
        pytest.param(["status", "x"], "no Prefect server is available", id="no server"),
        pytest.param(["approve", "x"], "codepipeline up", id="no server to approve at"),
    ],
)
def test_a_mistake_ends_in_one_message_and_exit_code_1(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    given = [{"BROKEN": str(broken), "HELLO": str(HELLO)}.get(argument, argument) for argument in arguments]

    done = cli(*given, env=nowhere(tmp_path))

    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_server_that_does_not_answer_is_said(tmp_path: Path) -> None:
    environment = {
        **nowhere(tmp_path),
        "PREFECT_API_URL": "http://127.0.0.1:9/api",
        "PREFECT_CODEPIPELINE_AWAY_SECONDS": "1",
    }

    done = cli("status", "x", env=environment)

    assert done.returncode == 1
    assert "did not answer" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.live
@pytest.mark.parametrize("verb", ["status", "start", "logs", "approve", "executions"])
def test_a_pipeline_that_is_not_there_is_named(verb: str, prefect_server: str) -> None:
    done = cli(verb, "no-such-pipeline")

    assert done.returncode == 1
    assert "'no-such-pipeline'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.live
def test_blocks_are_made_at_the_command_line_and_secrets_are_not_shown(prefect_server: str) -> None:
    name = f"conn-{uuid4().hex[:6]}"
    arn = f"arn:aws:codeconnections:us-east-1:111122223333:connection/{uuid4()}"

    added = cli("connection", "add", name, "--url", "https://git.example.com/{FullRepositoryId}.git", "--arn", arn,
                "--token-stdin", input="planted-secret\n")  # fmt: skip
    listed = cli("connection", "list", "--json")
    slack = cli("slack", "add", name, "--channel", "C1", "--token-stdin", input="xoxb-planted-secret\n")
    secret = cli("secret", "add", name, "--value-stdin", input="planted-secret:\n  of two lines\n")

    assert [done.returncode for done in (added, listed, slack, secret)] == [0, 0, 0, 0], (
        added.stderr + slack.stderr
    )
    shown = {
        "name": name,
        "url_template": "https://git.example.com/{FullRepositoryId}.git",
        "token": "(set)",
        "connection_arn": arn,
        "commit_statuses": True,
    }
    assert shown in json.loads(listed.stdout)
    from prefect.blocks.system import Secret

    assert Secret.load(name).get() == "planted-secret:\n  of two lines"
    assert "planted-secret" not in "".join(
        done.stdout + done.stderr for done in (added, listed, slack, secret)
    )


@pytest.mark.live
def test_an_event_webhooks_secret_is_shown_once_and_kept(prefect_server: str) -> None:
    from prefect_codepipeline.engine.notifications.event_webhooks import load_event_webhook

    name = f"events-{uuid4().hex[:6]}"
    made = cli("event-webhook", "add", name, "--url", "https://example.com/a")
    changed = cli("event-webhook", "add", name, "--url", "https://example.com/b")
    refused = cli("event-webhook", "add", name, "--url", "http://example.com/c")

    assert [done.returncode for done in (made, changed, refused)] == [0, 0, 1], made.stderr + changed.stderr
    webhook = load_event_webhook(name)
    assert made.stdout.count(webhook.secret.get_secret_value()) == 1
    assert "whsec_" not in changed.stdout + refused.stdout + refused.stderr
    assert "the URL must be https" in refused.stderr
    assert webhook.url == "https://example.com/b"


@pytest.mark.live
def test_a_connection_that_makes_no_sense_is_refused(prefect_server: str) -> None:
    done = cli("connection", "add", "bad", "--url", "ext::sh -c whoami")

    assert done.returncode == 1
    assert "Traceback" not in done.stderr


@pytest.mark.live
def test_deploy_start_status_logs_executions(prefect_server: str, tmp_path: Path) -> None:
    name = f"cli-{uuid4().hex[:6]}"
    kinds = {"category": "Test", "owner": "Custom", "provider": "Scripted", "version": "1"}
    pipeline = {
        "name": name,
        "roleArn": "arn:aws:iam::111122223333:role/p",
        "artifactStore": {"type": "S3", "location": "bucket"},
        "stages": [
            {"name": "Source", "actions": [{"name": "Src", "actionTypeId": {**kinds, "category": "Source"}}]},
            {"name": "Check", "actions": [{"name": "Unit", "actionTypeId": kinds}]},
        ],
    }
    path = tmp_path / "p.json"
    path.write_text(json.dumps(pipeline))

    deployed = cli("deploy", str(path))
    before = cli("executions", name)
    watched = cli("start", name, "--watch")
    status = cli("status", name)
    as_json = json.loads(cli("status", name, "--json").stdout)
    executions = cli("executions", name)

    assert f"{name}: created, version 1" in deployed.stdout
    assert "Succeeded" not in before.stdout
    assert watched.returncode == 0, watched.stderr
    assert "Check/Unit: Succeeded (as ordered)" in watched.stdout
    assert "✔ Unit" in status.stdout
    execution = as_json["executions"][0]
    assert "000000000000 the <b>first</b> commit  StartPipelineExecution " in status.stdout
    assert as_json["status"] == "Succeeded"
    assert [each["actionStates"][0]["latestExecution"]["status"] for each in as_json["stageStates"]] == [
        "Succeeded",
        "Succeeded",
    ]
    assert execution["pipelineExecutionId"] in executions.stdout
    one = cli("status", name, "--execution", execution["pipelineExecutionId"]).stdout
    assert "2 of 2 stages done, 0 still to run" in one
    assert "Src: 000000000000 the <b>first</b> commit" in one
    log = _until(lambda: cli("logs", name, "Unit").stdout, "Action 'Unit' of stage 'Check' Succeeded")
    assert "Src" not in log


def _until(look: Any, text: str) -> str:
    deadline = time.monotonic() + 30
    while True:
        found = look()
        if text in found or time.monotonic() > deadline:
            assert text in found
            return str(found)


def test_run_brings_its_own_server_and_takes_it_down(tmp_path: Path) -> None:
    kind = {"category": "Test", "owner": "Custom", "provider": "Scripted", "version": "1"}
    approval = {"category": "Approval", "owner": "AWS", "provider": "Manual", "version": "1"}
    fails = {"FailUnless": "#{variables.File}"}
    pipeline = {
        "name": "here",
        "roleArn": "arn:aws:iam::111122223333:role/p",
        "artifactStore": {"type": "S3", "location": "bucket"},
        "pipelineType": "V2",
        "variables": [{"name": "File"}],
        "stages": [
            {"name": "Source", "actions": [{"name": "Src", "actionTypeId": {**kind, "category": "Source"}}]},
            {
                "name": "Prod",
                "actions": [
                    {"name": "Ok", "actionTypeId": approval},
                    {"name": "Ship", "runOrder": 2, "actionTypeId": kind, "configuration": fails},
                ],
            },
        ],
    }
    path = tmp_path / "here.json"
    path.write_text(json.dumps(pipeline))
    names = {"ApplicationName": "here", "DeploymentGroupName": "web"}
    group = {"Type": "AWS::CodeDeploy::DeploymentGroup", "Properties": names, "Block": {"where": "local"}}
    (tmp_path / "here.resources.yaml").write_text(json.dumps({"resources": {"Web": group}}))
    environment = {**nowhere(tmp_path), "TMPDIR": str(tmp_path)}

    done = cli("run", str(path), "--variable", f"File={tmp_path}/no", "--approve", env=environment)

    assert done.returncode == 1, done.stderr
    assert "Web (AWS::CodeDeploy::DeploymentGroup): created application 'here'" in done.stdout
    assert "Prod/Ok: Succeeded" in done.stdout
    assert "Failed: action 'Ship' of stage 'Prod' failed: there is no no" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    processes = map(int, filter(str.isdecimal, os.listdir("/proc")))
    assert [each for each in processes if any(str(tmp_path) in text for text in texts_of(each))] == []
