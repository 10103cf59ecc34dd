"""`codepipeline validate` as a user types it: the lines it prints, the formats, folders, and how it exits."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from prefect_codepipeline.cli import app
from prefect_codepipeline.model.problem import InvalidDefinition
from prefect_codepipeline.model.validation import RULES

ROOT = Path(__file__).parent.parent.parent.parent
HELLO = ROOT / "examples" / "hello" / "pipeline.json"

BROKEN = """\
pipeline:
  name: shop
  roleArn: arn:aws:iam::111122223333:role/p
  pipelineType: V2
  artifactStore: {type: S3, location: bucket}
  stages:
    - name: Source
      actions:
        - name: Src
          actionTypeId: {category: Source, owner: AWS, provider: CodeCommit, version: 1}
          configuration: {RepositoryName: shop, BranchName: main}
          outputArtifacts: [{name: Source}]
    - name: Build
      actions:
        - name: Build
          actionTypeId: {category: Compute, owner: AWS, provider: Commands, version: 1}
          commands: [make]
          runOrder: 0
          inputArtifacts:
            - name: Sorce
"""


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    path = tmp_path / "pipeline.yaml"
    path.write_text(BROKEN)
    return path


def validate(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, str]:
    code = app(["validate", *map(str, arguments)], result_action="return_value")
    return code, capsys.readouterr().out


def test_a_problem_is_shown_with_its_line_and_a_caret(
    broken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = validate(capsys, broken)

    assert code == 1
    lines = out.splitlines()
    at = next(index for index, line in enumerate(lines) if "Input Artifact Bundle" in line)
    assert lines[at].startswith(f"{broken}:20:15: error: stages[1].actions[0].inputArtifacts[0].name: ")
    assert lines[at].endswith("(did you mean 'Source'?) [InvalidStructureException: artifact-made-before]")
    assert lines[at + 1] == "    20 |             - name: Sorce"
    assert lines[at + 2] == "       |               ^^^^"
    assert f"{broken}:18:11: error: stages[1].actions[0].runOrder: " in out
    assert lines[-1] == "2 errors, 1 warning"


def test_programs_get_json(broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = validate(capsys, broken, HELLO, "--format", "json")

    first, second = json.loads(out)
    assert code == 1
    assert (first["file"], second["file"]) == (str(broken), str(HELLO))
    assert first["problems"][-1] == {
        "path": "stages[1].actions[0].inputArtifacts[0].name",
        "message": "Input Artifact Bundle Sorce in action Build is not declared as Output Artifact Bundle in any of the "
        "preceding actions",
        "exception": "InvalidStructureException",
        "severity": "error",
        "hint": "did you mean 'Source'?",
        "rule": "artifact-made-before",
        "line": 20,
        "column": 15,
    }


def test_code_scanning_gets_sarif(broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out = validate(capsys, broken, "--format", "sarif")

    report = json.loads(out)
    assert report["version"] == "2.1.0"
    run = report["runs"][0]
    assert {rule["id"] for rule in run["tool"]["driver"]["rules"]} == set(RULES)
    result = run["results"][-1]
    assert (result["ruleId"], result["level"]) == ("artifact-made-before", "error")
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == str(broken)
    assert place["region"] == {"startLine": 20, "startColumn": 15}


def test_workflows_get_annotations_of_one_line_each(broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken.write_text(BROKEN.replace("[make]", '["echo #{Nobody.knows}, 100%"]'))

    _, out = validate(capsys, broken, "--format", "github")

    assert all(line.startswith(("::error file=", "::warning file=")) for line in out.splitlines())
    assert f"::error file={broken},line=17,col=22,title=reference-to-earlier-namespace::stages[1]" in out
    assert "does not exist.%0AStageName=[Build]" in out


def test_a_folder_gives_its_pipelines_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "deep" / "node_modules").mkdir(parents=True)
    (tmp_path / ".hidden").mkdir()
    for name in ("deep/shop.yml", "deep/node_modules/not.yml", ".hidden/not.yml"):
        (tmp_path / name).write_text(BROKEN)
    (tmp_path / "package.json").write_text('{"name": "shop", "stages": {"any": 1}, "version": "1.0"')
    (tmp_path / "notes.yaml").write_text("stages of life: [1, 2]")
    (tmp_path / "deep" / "compose.yaml").write_text("services: {web: {image: nginx}}")

    code, out = validate(capsys, tmp_path, "--format", "json")

    assert code == 2  # package.json is broken, and may be meant for us
    assert [Path(entry["file"]).name for entry in json.loads(out)] == ["shop.yml", "package.json"]


def test_what_cannot_be_read_has_its_line_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "pipeline.json"
    path.write_text('{"pipeline": {\n  "name": }}')

    code, out = validate(capsys, path, tmp_path / "nowhere.json", "--format", "json")

    report = json.loads(out)
    assert code == 2
    assert (report[0]["line"], report[0]["column"]) == (2, 11)
    assert "No such file" in report[1]["unreadable"]


def test_warnings_alone_exit_with_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = json.loads(HELLO.read_text())
    del content["pipeline"]["triggers"]
    (tmp_path / "untriggered.json").write_text(json.dumps(content))

    code, out = validate(capsys, tmp_path / "untriggered.json")

    assert code == 0
    assert "warning: stages[0].actions[0].configuration.DetectChanges" in out


def test_the_caret_stands_below_its_column_after_tabs_and_in_long_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads(HELLO.read_text())
    content["pipeline"]["stages"][0]["actions"][0]["configuration"]["Surprise"] = "x"
    tabs, one_line = tmp_path / "tabs.json", tmp_path / "line.json"
    tabs.write_text(json.dumps(content, indent="\t"))
    one_line.write_text(json.dumps(content))

    for path in (tabs, one_line):
        _, out = validate(capsys, path)
        lines = out.splitlines()
        marks = next(i for i, line in enumerate(lines) if re.fullmatch(r" +\|\s+\^{10}", line))
        at = lines[marks].index("^")
        assert lines[marks - 1][at : at + 10] == '"Surprise"'
        assert lines[marks][:at].count("\t") == lines[marks - 1][:at].count("\t")


def test_validating_imports_no_prefect() -> None:
    code = (
        "import sys; from prefect_codepipeline.cli import app;"
        f"code = app(['validate', {str(HELLO)!r}], result_action='return_value');"
        "sys.exit(code or 'prefect' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, env=os.environ
    )

    assert done.returncode == 0, done.stderr


def test_the_hook_names_a_command_that_exists_and_takes_definitions_only() -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())

    assert hook["entry"].split() == ["codepipeline", "validate"]
    for name, taken in [("pipeline.json", True), ("ci/shop-pipeline.yaml", True), ("package.json", False)]:
        assert bool(re.search(hook["files"], name)) == taken
    assert re.search(hook["exclude"], "pipeline.settings.yaml")


def test_a_file_cannot_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "pipeline.json"
    path.write_text('{"name": "\x7f\x9b31m", "roleArn": "\\u001b[31m", "stages": []}')

    _, out = validate(capsys, path)

    assert not re.search(r"[\x1b\x7f\x9b]", out)


TEMPLATE = """\
Parameters:
  Branch: {Type: String, Default: main}
  Bucket: {Type: String}
Resources:
  Shop:
    Type: AWS::CodePipeline::Pipeline
    Properties:
      RoleArn: !Sub arn:aws:iam::${AWS::AccountId}:role/p
      ArtifactStore: {Type: S3, Location: !Ref Bucket}
      Stages:
        - Name: Source
          Actions:
            - Name: Src
              ActionTypeId: {Category: Source, Owner: AWS, Provider: CodeCommit, Version: 1}
              Configuration: {RepositoryName: shop, BranchName: !Ref Branch, Surprise: 1}
              OutputArtifacts: [{Name: App}]
        - Name: Deploy
          Actions:
            - Name: Ship
              ActionTypeId: {Category: Deploy, Owner: AWS, Provider: OpsWorks, Version: 1}
              Configuration: {App: !Ref Bucket, Stack: blue}
              InputArtifacts: [{Name: !Sub "App"}]
"""


def test_a_template_is_checked_at_its_own_lines_and_values_that_are_not_given_are_no_problems(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "template.yaml"
    path.write_text(TEMPLATE)

    code, out = validate(capsys, path, "--only-aws", "--format", "json")

    ((problem,),) = [entry["problems"] for entry in json.loads(out)]
    assert code == 1
    assert (problem["rule"], problem["line"]) == ("configuration-known", 15)
    assert "not-available" in validate(capsys, path)[1]


def test_problems_of_a_template_itself_are_named_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "template.yaml"
    path.write_text(TEMPLATE.replace("!Ref Branch", "!Ref Brnch").replace(", Surprise: 1", ""))

    _, out = validate(capsys, path, "--only-aws", "--format", "sarif")

    (result,) = json.loads(out)["runs"][0]["results"]
    assert result["ruleId"] == "template"
    assert "Brnch" in result["message"]["text"]


@pytest.mark.parametrize("verb", ["deploy", "run"])
def test_what_keeps_a_pipeline_from_being_deployed_or_run_is_said_with_its_line(
    verb: str, broken: Path
) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        app([verb, str(broken)], result_action="return_value")

    assert f"{broken} cannot run: 2 problems" in str(caught.value)
    assert "  line 20: stages[1].actions[0].inputArtifacts[0].name: Input Artifact Bundle" in str(
        caught.value
    )


BUILDSPEC = """\
version: 0.2
phases:
  build:
    commands:
      - make
      - echo "Hello: world"
artifacts:
  file: a
  files: a
  files: b
"""


def test_buildspecs_are_known_by_their_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "buildspec.yml"
    path.write_text(BUILDSPEC)

    code, out = validate(capsys, path)

    assert code == 1
    lines = out.splitlines()
    assert lines[0].startswith(
        f"{path}:6:9: error: phases.build.commands[1]: Expected Commands[1] to be of string"
    )
    assert lines[0].endswith("[YAML_FILE_ERROR: buildspec-command]")
    assert lines[1:3] == ['     6 |       - echo "Hello: world"', "       |         ^^^^"]
    assert lines[3].startswith(f"{path}:8:3: warning: artifacts.file: unknown key 'file' is ignored")
    assert lines[6].startswith(f"{path}:10:3: warning: artifacts.files: 'files' is already set in line 9")
    assert lines[-2].endswith(
        "CodeBuild would fail the build in DOWNLOAD_SOURCE with YAML_FILE_ERROR, before any command"
    )
    assert lines[-1] == "1 error, 2 warnings"


@pytest.mark.parametrize(
    "name", ["buildspec.yml", "BuildSpec_debug.yaml", "buildspec-x.json", "api-buildspec.yml"]
)
def test_what_codebuild_would_do_is_said(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    path.write_text('{"version": 0.2, "phases": {"install": {}, "build": {"commands": ["make"]}}}')

    assert validate(capsys, path) == (0, f"{path}: no problems; CodeBuild would run build\n")
    _, out = validate(capsys, path, "--format", "json")
    assert json.loads(out) == [{"file": str(path), "problems": [], "outcome": "CodeBuild would run build"}]


@pytest.mark.parametrize(
    ("batch", "outcome"),
    [
        ("build-fanout: {parallelism: 2}", "2 builds (build_1, build_2) as a batch"),
        ("build-list: [{identifier: a}]", "1 build (a) as a batch"),
        (
            "build-fanout: {parallelism: 9}",
            "9 builds (build_1, build_2, build_3, build_4, build_5, …) as a batch",
        ),
    ],
)
def test_batches_say_their_builds(
    batch: str, outcome: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "buildspec.yml"
    path.write_text(f"version: 0.2\nphases: {{build: {{commands: a}}}}\nbatch: {{{batch}}}\n")
    assert validate(capsys, path) == (0, f"{path}: no problems; CodeBuild would run {outcome}\n")


def searched(
    folder: Path, files: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> Callable[..., list[str]]:
    """Write the files; a function of options of `validate` that tells which of them it names."""
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)

    def found(*arguments: str) -> list[str]:
        _, out = validate(capsys, folder, "--format", "json", *arguments)
        return [str(Path(entry["file"]).relative_to(folder)) for entry in json.loads(out)]

    return found


def test_folders_are_searched_for_buildspecs_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = "version: 0.2\nphases: {build: {commands: [make]}}\n"
    files = {
        "a/buildspec.yml": BUILDSPEC, "a/odd.yml": good, "notes.yml": "version: 0.2\n", "pipeline.yaml": BROKEN,
        "buildspec-project.yml": "Resources: {P: {Type: 'AWS::CodeBuild::Project'}}\n", "buildspec-wrong.yml": "a: [\n",
    }  # fmt: skip
    found = searched(tmp_path, files, capsys)

    assert found() == ["a/buildspec.yml", "buildspec-wrong.yml", "pipeline.yaml"]
    assert found("--kind", "buildspec") == ["a/buildspec.yml", "a/odd.yml", "buildspec-wrong.yml"]
    assert found("--kind", "pipeline") == ["pipeline.yaml"]
    assert validate(capsys, tmp_path)[0] == 2


def test_kind_says_what_a_file_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "build.yml"
    path.write_text(BUILDSPEC)

    code, out = validate(capsys, path, "--kind", "buildspec", "--format", "sarif")
    assert code == 1
    results = json.loads(out)["runs"][0]["results"]
    assert [(result["ruleId"], result["level"]) for result in results] == [
        ("buildspec-command", "error"), ("buildspec-unknown-key", "warning"), ("buildspec-repeated-key", "warning"),
    ]  # fmt: skip
    code, out = validate(capsys, path, "--kind", "buildspec", "--format", "github")
    assert out.startswith(
        f"::error file={path},line=6,col=9,title=buildspec-command::phases.build.commands[1]: "
    )
    assert validate(capsys, path)[0] == 2


APPSPEC = """\
version: 0.0
os: linux
files:
  - {source: dist, destination: srv/app}
permissions:
  - {object: /srv/app, mode: 0644}
os: linux
"""
RIGHT_APPSPEC = "version: 0.0\nos: linux\nfiles:\n  - {source: dist, destination: /srv/app}\nhooks:\n  AfterInstall:\n    - location: a.sh\n"
ECS_APPSPEC = "version: 0.0\nResources:\n  - TargetService:\n      Type: AWS::ECS::Service\n"


def test_an_appspec_is_checked_by_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "appspec.yml"
    path.write_text(APPSPEC)

    assert validate(capsys, path) == (
        1,
        f"{path}:4:20: error: files[0].destination: 'srv/app' is not an absolute path: CodeDeploy's agent would take it below the "
        "folder in which it was started [AppSpecValidationException: appspec-absolute]\n"
        "     4 |   - {source: dist, destination: srv/app}\n       |                    ^^^^^^^^^^^\n"
        f"{path}:6:24: error: permissions[0].mode: 0644 without quotes is the number 420 in YAML: CodeDeploy would set mode 420; "
        "write '0644' in quotes [AppSpecValidationException: appspec-mode-number]\n"
        "     6 |   - {object: /srv/app, mode: 0644}\n       |                        ^^^^\n"
        f"{path}:7:1: warning: os: 'os' is already set in line 2; this value replaces it [appspec-repeated-key]\n"
        "     7 | os: linux\n       | ^^\n"
        f"{path}: an action of type CodeDeploy would fail before it touches a host\n2 errors, 1 warning\n",
    )  # fmt: skip
    path.write_text(RIGHT_APPSPEC)
    assert validate(capsys, path) == (
        0,
        f"{path}: no problems; CodeDeploy would install from 1 source and run AfterInstall\n",
    )


def test_an_appspec_of_another_platform_is_named_and_no_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "appspec.yaml"
    path.write_text(ECS_APPSPEC)

    assert validate(capsys, path) == (
        0,
        f"{path}: no problems; this is the AppSpec of an ECS service, for actions of type Deploy/AWS/CodeDeployToECS/1, and not "
        "checked further: hosts cannot be deployed with it\n",
    )  # fmt: skip


def test_folders_are_searched_for_appspecs_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {
        "a/appspec.yml": RIGHT_APPSPEC, "a/odd.yml": RIGHT_APPSPEC, "b/appspec.yaml": ECS_APPSPEC, "notes.yml": "os: linux\n",
        "c/appspec.json": '{"Resources": {"P": {"Type": "AWS::CodeDeploy::Application"}}}', "d/appspec.yml": "a: [\n",
    }  # fmt: skip
    found = searched(tmp_path, files, capsys)

    assert found() == ["a/appspec.yml", "b/appspec.yaml", "d/appspec.yml"]
    assert found("--kind", "appspec") == ["a/appspec.yml", "a/odd.yml", "b/appspec.yaml", "d/appspec.yml"]
    assert found("--kind", "buildspec") == []
    code, out = validate(capsys, tmp_path / "a" / "odd.yml", "--kind", "appspec")
    assert (code, "no problems" in out) == (0, True)
