"""A pipeline comes from a template, is planned, deployed and exported, as a newcomer would do it."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import run_command

from prefect_codepipeline.actions.codebuild.project.finding import find_project
from prefect_codepipeline.blocks.git_connection import GitConnection
from prefect_codepipeline.cli import main

DATA = Path(__file__).parent.parent.parent / "data"
TEMPLATE = """\
Parameters:
  Token: {Type: String, NoEcho: true}
  Repo: {Type: String, Default: owner/shop}
Resources:
  Hub:
    Type: AWS::CodeConnections::Connection
    Properties: {ConnectionName: hub, ProviderType: GitHub}
  Code:
    Type: AWS::CodeCommit::Repository
    Properties: {RepositoryName: shop}
  Other:
    Type: AWS::CodeBuild::Project
    Properties: {Name: Shop_Build, TimeoutInMinutes: 5, Environment: {Image: 'aws/codebuild/standard:7.0'}}
  Role: {Type: AWS::IAM::Role}
  Release:
    Type: AWS::CodePipeline::Pipeline
    Properties:
      Name: shop-import
      PipelineType: V2
      RoleArn: !GetAtt Role.Arn
      RestartExecutionOnUpdate: true
      ArtifactStore: {Type: S3, Location: artifacts}
      Variables: [{Name: Env, DefaultValue: dev}, {Name: Tag}]
      Stages:
        - Name: Source
          Actions:
            - Name: Checkout
              Namespace: Source
              ActionTypeId: {Category: Source, Owner: AWS, Provider: CodeStarSourceConnection, Version: 1}
              Configuration:
                {ConnectionArn: !Ref Hub, FullRepositoryId: !Ref Repo, BranchName: main, DetectChanges: False}
              OutputArtifacts: [{Name: Src}]
        - Name: Build
          Actions:
            - Name: Test
              RunOrder: 1
              ActionTypeId: {Category: Compute, Owner: AWS, Provider: Commands, Version: 1}
              Commands: ['make test ENV=#{variables.Env} COMMIT=#{Source.CommitId} TAG=#{variables.Tag}']
              InputArtifacts: [{Name: Src}]
            - Name: Ship
              RunOrder: 2
              ActionTypeId: {Category: Approval, Owner: AWS, Provider: Manual, Version: 1}
"""
Here = Callable[..., subprocess.CompletedProcess[str]]
ROLE = "Role.Arn=arn:aws:iam::111122223333:role/p"
HUB = "Hub=arn:aws:codeconnections:eu-west-1:111122223333:connection/0000-import"


def cli(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return run_command(arguments, **more)


@pytest.fixture
def here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command in this process, inside of `tmp_path`: quick, for verbs that ask no server."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        said = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, int(str(ended.value.code)), said.out, said.err)

    return run


def alone(tmp_path: Path) -> dict[str, str]:
    """An environment without a server."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    return {**kept, "PREFECT_CODEPIPELINE_HOME": str(tmp_path / "x"), "PREFECT_HOME": str(tmp_path / "p")}


def imported(tmp_path: Path, *parameters: str) -> Path:
    (tmp_path / "t.yaml").write_text(TEMPLATE)
    given = [part for each in parameters for part in ("--parameter", each)]
    with redirect_stdout(io.StringIO()), pytest.raises(SystemExit, match="0"):
        main(["import", str(tmp_path / "t.yaml"), "--out", str(tmp_path), *given])
    return tmp_path / "shop-import.json"


def test_import_of_what_comes_by_standard_input_lists_what_is_missing(tmp_path: Path) -> None:
    done = cli("import", "-", "--out", str(tmp_path / "out"), input=TEMPLATE)

    assert done.returncode == 0
    assert "shop-import: 2 stages, 3 actions -> " in done.stdout
    assert "placeholders for values that are not used here: roleArn" in done.stdout
    assert "missing values, and what needs them (1):" in done.stdout
    assert "Hub  for ConnectionArn of Source/Checkout" in done.stdout
    command = f"codepipeline import - --force --out {tmp_path}/out --parameter Hub=VALUE"
    assert f"give the missing values with: {command}" in done.stdout
    pipeline = json.loads((tmp_path / "out" / "shop-import.json").read_text())["pipeline"]
    assert pipeline["roleArn"] == "arn:aws:iam::000000000000:role/not-used-here-RoleArn"
    assert pipeline["stages"][1]["actions"][1]["runOrder"] == 2
    assert pipeline["stages"][0]["actions"][0]["configuration"]["DetectChanges"] == "false"
    beside = yaml.safe_load((tmp_path / "out" / "shop-import.resources.yaml").read_text())
    assert beside["properties"] == {"RestartExecutionOnUpdate": "true"}
    assert beside["placeholders"] == {"roleArn": "${Role.Arn}"}
    assert beside["missing"]["Role.Arn"]["paths"] == ["roleArn"]
    assert beside["imported"] == {"template": "standard input", "logicalId": "Release"}
    assert set(beside["resources"]) == {"Hub", "Code", "Other"}


def test_at_a_terminal_only_what_an_action_here_needs_is_asked_for(tmp_path: Path) -> None:
    text = TEMPLATE.replace(
        "Repo: {Type: String, Default: owner/shop}",
        "Repo: {Type: String}\n  Net: {Type: String}\n  Kind: {Type: String}",
    ).replace("Resources:\n  Hub", "Conditions: {IsOn: !Equals [!Ref Kind, on]}\nResources:\n  Hub")
    text = text.replace(
        "    Type: AWS::CodePipeline::Pipeline", "    Condition: IsOn\n    Type: AWS::CodePipeline::Pipeline"
    )
    (tmp_path / "t.yaml").write_text(
        text.replace("Commands: [", "Configuration: {VpcId: !Ref Net}\n              Commands: [")
    )
    terminal, own = pty.openpty()
    os.write(terminal, b"on\nme/shop\n")

    done = cli("import", str(tmp_path / "t.yaml"), "--out", str(tmp_path), stdin=own)

    os.close(own)
    os.close(terminal)
    assert done.returncode == 0, done.stderr
    assert "Kind (parameter, String), empty if unknown: " in done.stdout
    assert done.stdout.count("empty if unknown") == 2  # neither the network nor the token is used here
    assert "Repo (parameter, String), empty if unknown: " in done.stdout
    assert '"me/shop"' in (tmp_path / "shop-import.json").read_text()


def test_files_that_are_there_are_replaced_on_demand_only(tmp_path: Path, here: Here) -> None:
    path = imported(tmp_path)
    path.write_text("mine")

    refused = here("import", str(tmp_path / "t.yaml"), "--out", str(tmp_path))
    assert (refused.returncode, path.read_text()) == (1, "mine")
    assert "shop-import.json exists already; replace it with --force" in refused.stderr
    assert here("import", str(tmp_path / "t.yaml"), "--out", str(tmp_path), "--force").returncode == 0
    assert path.read_text() != "mine"


def test_import_for_programs(tmp_path: Path, here: Here) -> None:
    (tmp_path / "t.yaml").write_text(
        TEMPLATE.replace("InputArtifacts: [{Name: Src}]", "InputArtifacts: [{Name: Srk}]")
    )
    (tmp_path / "other.yaml").write_text("Resources: {Store: {Type: AWS::S3::Bucket}}")

    done, other = here("import", "t.yaml", "--json"), here("import", "other.yaml", "--json")

    [[read], [without]] = json.loads(done.stdout), json.loads(other.stdout)
    [pipeline] = read["pipelines"]
    assert (done.returncode, other.returncode, read["file"]) == (1, 1, "t.yaml")
    assert pipeline["files"] == ["shop-import.json", "shop-import.resources.yaml"]
    errors = [each["line"] for each in pipeline["problems"] if each["severity"] == "error"]
    assert errors == [39]
    assert pipeline["placeholders"] == ["roleArn"]
    assert [each["name"] for each in pipeline["missing"]] == ["Hub"]
    assert without["outcome"].endswith("it has AWS::S3::Bucket; nothing is written")
    assert without["pipelines"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["nowhere.yaml"], "nowhere.yaml: No such file", id="no file"),
        pytest.param(["."], "contains no *.template.json", id="a folder of something else"),
        pytest.param(["broken.yaml"], "broken.yaml, line 2, column 1: not YAML", id="broken"),
        pytest.param(["t.yaml", "--parameter", "Repo"], "--parameter takes NAME=VALUE", id="no value"),
        pytest.param(
            ["parameters.yaml"],
            "parameters.yaml: this is a CloudFormation template without Resources",
            id="no resources",
        ),
        pytest.param(["build.yaml"], "build.yaml: this is a buildspec", id="a buildspec"),
        pytest.param(
            ["other.yaml"], "neither a pipeline nor a template: it has the keys services", id="something else"
        ),
    ],
)
def test_import_says_what_it_cannot_read(
    arguments: list[str], message: str, tmp_path: Path, here: Here
) -> None:
    (tmp_path / "broken.yaml").write_text("a: [b, c")
    (tmp_path / "t.yaml").write_text(TEMPLATE)
    (tmp_path / "parameters.yaml").write_text("Parameters: {A: {Type: String}}")
    (tmp_path / "build.yaml").write_text("{version: 0.2, phases: {build: {commands: [make]}}}")
    (tmp_path / "other.yaml").write_text("services: {a: {image: b}}")
    done = here("import", *arguments, "--out", "out")

    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_template_without_a_pipeline_says_what_it_is_and_nothing_is_written(
    tmp_path: Path, here: Here
) -> None:
    (tmp_path / "t.yaml").write_text("Resources: {Store: {Type: AWS::S3::Bucket}, Odd: {Properties: {}}}")
    sentence = "t.yaml: this is a CloudFormation template without AWS::CodePipeline::Pipeline: it has AWS::S3::Bucket"

    done = here("import", "t.yaml", "--out", "out")
    assert (done.returncode, (tmp_path / "out").exists()) == (1, False)
    assert f"{sentence}; nothing is written" in done.stdout
    assert "Resources.Odd: Template format error: [/Resources/Odd] has no Type" in done.stdout

    assert sentence in here("validate", "t.yaml").stdout


def test_import_shows_what_aws_would_refuse_with_its_line(tmp_path: Path, here: Here) -> None:
    (tmp_path / "t.yaml").write_text(
        TEMPLATE.replace("InputArtifacts: [{Name: Src}]", "InputArtifacts: [{Name: Srk}]")
    )
    done = here("import", "t.yaml", "--parameter", "Rpo=x")

    assert done.returncode == 1
    assert (
        re.search(
            r"t.yaml:(\d+):\d+: error: stages\[1\].actions\[0\].inputArtifacts\[0\].name: ", done.stdout
        )[1]
        == "39"
    )
    assert "--parameter Rpo is not used by the document (did you mean 'Repo'?)" in done.stdout


def test_the_output_of_cdk_synth_is_imported(tmp_path: Path, here: Here) -> None:
    template = next((DATA / "templates").glob("*AcceleratorInstaller.template.json"))
    below = tmp_path / "cdk.out" / "assembly-Prod"
    below.mkdir(parents=True)
    (below / "Installer.template.json").write_bytes(template.read_bytes())
    (tmp_path / "cdk.out" / "Other.template.json").write_text('{"Resources": {}}')
    done = here("import", "cdk.out")

    assert done.returncode == 0
    assert "ASEA-InstallerPipeline: 5 stages, 5 actions -> ASEA-InstallerPipeline.json" in done.stdout


def test_plan_shows_order_places_variables_and_what_is_missing(tmp_path: Path) -> None:
    path = imported(tmp_path)
    done = cli("plan", str(path), "--variable", "Env=prod", env=alone(tmp_path))

    assert done.returncode == 1
    shown = [line.strip() for line in done.stdout.splitlines()]
    for line in (
        "variable Env: prod (given)",
        "variable Tag: no value, pass --variable Tag=VALUE",
        "1. Source",
        "2. Build",
        "run order 1",
        "inputs: Src (from Source/Checkout)",
        "command 1: make test ENV=prod COMMIT=#{Source.CommitId} TAG=#{variables.Tag}",
        "#{Source.CommitId}: known when Source/Checkout has run",
        "approval 2",
        "Ship  Approval/AWS/Manual/1  waits for a person",
        "Hub (AWS::CodeConnections::Connection): kept as data: import with --parameter Hub=ARN, or =NAME of a block",
        "Other (AWS::CodeBuild::Project): project 'shop-build' created by deploy if missing; "
        "image aws/codebuild/standard:7.0 is not in a public registry: the default image is used",
        "Placeholders, for values that are not used here",
        "roleArn",
        "Hub: stages[0].actions[0].configuration.ConnectionArn",
    ):
        assert line in shown
    assert "Role.Arn: roleArn" not in shown
    again = f"codepipeline import {path.parent}/t.yaml --force --out {path.parent} --parameter Hub=VALUE"
    assert shown[-1] == (
        f"missing: the value of Hub: {again}; "
        "variable Tag: codepipeline start shop-import --variable Tag=VALUE"
    )
    assert "Errors that prevent an execution" not in shown


def test_plan_for_programs(tmp_path: Path) -> None:
    path = imported(tmp_path, ROLE, HUB)
    done = cli("plan", str(path), "--variable", "Tag=1", "--json", env=alone(tmp_path))

    plan = json.loads(done.stdout)
    assert done.returncode == 0
    assert [stage["name"] for stage in plan["stages"]] == ["Source", "Build"]
    assert plan["stages"][0]["steps"][0]["actions"][0]["needs"] == [
        {"kind": "git-connection", "name": HUB.partition("=")[2], "state": "unknown", "command": ""}
    ]
    assert (plan["missing"], plan["placeholders"], plan["lacks"]) == ({}, [], [])
    assert plan["notes"] == ["blocks are not checked without a Prefect server"]


def test_plan_refuses_a_variable_that_is_not_there(tmp_path: Path) -> None:
    done = cli("plan", str(imported(tmp_path)), "--variable", "Envv=1")

    assert (done.returncode, "no variable 'Envv'; did you mean 'Env'?" in done.stderr) == (1, True)


def test_export_of_a_file_brings_what_lies_beside_it(tmp_path: Path, here: Here) -> None:
    done = here("export", str(imported(tmp_path, HUB)), "--format", "cloudformation")

    template = yaml.safe_load(done.stdout)
    resources = template["Resources"]
    assert resources["Release"]["Properties"]["RoleArn"] == {"Ref": "RoleArn"}
    assert template["Parameters"] == {
        "RoleArn": {"Type": "String", "Description": "attribute Arn of AWS::IAM::Role"}
    }
    assert resources["Hub"]["Properties"]["ConnectionName"] == "hub"
    (tmp_path / "again.yaml").write_text(done.stdout)
    assert here("import", "again.yaml", "--out", "again").returncode == 0
    assert (tmp_path / "again" / "shop-import.json").read_bytes() == (
        tmp_path / "shop-import.json"
    ).read_bytes()


@pytest.mark.live
def test_deploy_makes_the_blocks_and_export_gives_the_pipeline_back(
    prefect_server: str, tmp_path: Path
) -> None:
    path = imported(tmp_path, HUB, "AWS::Region=eu-west-1")  # the role is not used here
    planned = cli("plan", str(path), "--variable", "Tag=1")
    assert (
        "Hub (AWS::CodeConnections::Connection): connection 'hub' would be created by deploy"
        in planned.stdout
    )
    assert (planned.returncode, planned.stdout.splitlines()[-1]) == (0, "ready")

    deployed = cli("deploy", str(path))
    assert "Hub (AWS::CodeConnections::Connection): created connection 'hub'" in deployed.stdout
    assert (
        "created connection 'codecommit' for https://git-codecommit.eu-west-1.amazonaws.com/v1/repos/"
        in deployed.stdout
    )
    assert (
        "Other (AWS::CodeBuild::Project): created project 'shop-build'; image aws/codebuild/"
        in deployed.stdout
    )
    project = find_project("Shop_Build")
    assert project is not None
    assert project.timeout_in_minutes == 5
    planned = cli("plan", str(path), "--variable", "Tag=1")
    assert (planned.returncode, "block git-connection/hub: present" in planned.stdout) == (0, True)
    assert "Hub (AWS::CodeConnections::Connection): connection 'hub' exists" in planned.stdout

    again = json.loads(cli("export", "shop-import").stdout)["pipeline"]
    assert [stage["name"] for stage in again["stages"]] == ["Source", "Build"]
    assert (again["version"], again["stages"][0]["actions"][0]["configuration"]["ConnectionArn"]) == (
        1,
        HUB.partition("=")[2],
    )
    # Other tests of the session mean to have no such connection.
    GitConnection.delete("codecommit")


def test_validate_reads_templates_and_shows_the_lines_of_both(tmp_path: Path, here: Here) -> None:
    (tmp_path / "t.yaml").write_text(
        TEMPLATE.replace("InputArtifacts: [{Name: Src}]", "InputArtifacts: [{Name: Srk}]").replace(
            "Ref Repo", "Ref Rpo"
        )
    )
    done = here("validate", "t.yaml")

    assert done.returncode == 1
    lines = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert [re.match(r"t.yaml:(\d+):", line)[1] for line in lines] == ["31", "39"]  # type: ignore[index]
    assert "Unresolved resource dependencies [Rpo]" in lines[0]
    assert "Srk" in lines[1]


def test_validate_of_an_imported_definition_says_how_to_give_what_is_missing(
    tmp_path: Path, here: Here
) -> None:
    imported(tmp_path)
    done = here("validate", "shop-import.json")

    assert done.returncode == 1
    assert "error: stages[0].actions[0].configuration.ConnectionArn: the value of Hub" in done.stdout
    assert "write it here, or run: codepipeline import " in done.stdout
    assert "roleArn" not in done.stdout

    path = tmp_path / "shop-import.json"
    path.write_text(path.read_text().replace("${Hub}", "hub"))
    assert here("validate", "shop-import.json").returncode == 0


def test_a_pipeline_without_a_name_leaves_no_files_behind_when_it_gets_one(
    tmp_path: Path, here: Here
) -> None:
    text = TEMPLATE.replace("Name: shop-import", "Name: !Sub '${App}-import'")
    (tmp_path / "t.yaml").write_text(text.replace("Parameters:\n", "Parameters:\n  App: {Type: String}\n"))
    here("import", "t.yaml")
    here("import", "t.yaml", "--parameter", "App=other")
    assert {path.name for path in tmp_path.glob("*.json")} == {"App--import.json", "other-import.json"}

    assert here("import", "t.yaml", "--force", "--parameter", "App=shop").returncode == 0

    assert {path.name for path in tmp_path.glob("*import*")} == {
        *("other-import.json", "other-import.resources.yaml"),  # another pipeline, as the user wanted it
        *("shop-import.json", "shop-import.resources.yaml"),
    }


def test_the_command_that_gives_a_value_names_what_was_given_before(tmp_path: Path, here: Here) -> None:
    imported(tmp_path, "Repo=other/shop")
    done = here("deploy", "shop-import.json")

    assert done.returncode == 1
    assert "cannot run: 1 problem" in done.stderr
    command = f"codepipeline import {tmp_path}/t.yaml --force --parameter Hub=VALUE --parameter Repo=VALUE"
    assert command in done.stderr


def test_a_pipeline_that_lacks_only_values_not_used_here_is_ready(
    tmp_path: Path, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "t.yaml").write_text(TEMPLATE)
    monkeypatch.setattr("prefect_codepipeline.cli.definitions.plan._blocks", lambda: None)
    here("import", "t.yaml", "--parameter", "Hub=hub")
    done = here("plan", "shop-import.json", "--variable", "Tag=1")

    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "ready; blocks are not checked without a Prefect server"
