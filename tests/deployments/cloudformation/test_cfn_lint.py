"""What cfn-lint's rules of CodePipeline refuse is refused here as well, and what they take is taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefect_codepipeline.deployments.checking.files import check_file
from prefect_codepipeline.deployments.checking.runnable import check_rules
from prefect_codepipeline.deployments.cloudformation.export import as_template
from prefect_codepipeline.deployments.cloudformation.not_used import with_originals
from prefect_codepipeline.deployments.cloudformation.pipelines import import_document
from prefect_codepipeline.deployments.files.definition import read_file
from prefect_codepipeline.deployments.files.resources import as_yaml

TEMPLATES = Path(__file__).parents[2] / "data" / "templates"
GOOD = """\
Resources:
  Shop:
    Type: AWS::CodePipeline::Pipeline
    Properties:
      RoleArn: arn:aws:iam::111122223333:role/p
      ArtifactStore: {Type: S3, Location: bucket}
      Stages:
        - Name: Source
          Actions:
            - Name: Src
              ActionTypeId: {Category: Source, Owner: AWS, Provider: CodeCommit, Version: "1"}
              Configuration: {RepositoryName: shop, BranchName: main}
              OutputArtifacts: [{Name: App}]
        - Name: Deploy
          Actions:
            - Name: Ship
              ActionTypeId: {Category: Deploy, Owner: AWS, Provider: CloudFormation, Version: "1"}
              Configuration:
                ActionMode: CREATE_UPDATE
                StackName: shop
                TemplatePath: App::template.yaml
                RoleArn: arn:aws:iam::111122223333:role/deploy
              InputArtifacts: [{Name: App}]
"""


def findings(text: str) -> set[str]:
    """The names of cfn-lint's rules that refuse a template."""
    # Half a second, which only the worker with these tests has to spend.
    from cfnlint.api import ManualArgs, lint

    return {found.rule.id for found in lint(text, config=ManualArgs(regions=["us-east-1"]))}


def errors(text: str, folder: Path) -> list[str]:
    path = folder / "template.yaml"
    path.write_text(text)
    return [problem.rule for problem in check_file(path, check_rules).problems if problem.severity == "error"]


@pytest.mark.long
@pytest.mark.parametrize("part", ["mlops-deploy", "ci-cd-codepipeline", "curatend-batch"])
def test_an_exported_template_is_taken(part: str, tmp_path: Path) -> None:
    """Imports, secrets, and attributes of resources that are not in the template."""
    path = next(path for path in TEMPLATES.iterdir() if part in path.name)
    (pipeline,) = import_document(read_file(path)).pipelines
    wire = with_originals(pipeline.wire, pipeline.placeholders)
    template = as_template(wire, "Release", pipeline.extras, pipeline.resources, pipeline.missing)

    assert pipeline.missing
    assert not {rule for rule in findings(as_yaml(template)) if rule.startswith("E")}


def test_what_both_take(tmp_path: Path) -> None:
    assert not findings(GOOD)
    assert not errors(GOOD, tmp_path)


@pytest.mark.parametrize(
    ("change", "theirs", "ours"),
    [
        (("Category: Source, Owner: AWS, Provider: CodeCommit", "Category: Build, Owner: AWS, Provider: CodeBuild"), "E3700", "first-stage-only-sources"),
        (("OutputArtifacts: [{Name: App}]", "OutputArtifacts: []"), "E3702", "enough-artifacts"),
        (("InputArtifacts: [{Name: App}]", "InputArtifacts: [{Name: Ap}]"), "E3701", "artifact-made-before"),
        (("TemplatePath: App::", "TemplatePath: Ap::"), "E3703", "configuration-artifact"),
        (("RoleArn: arn:aws:iam::111122223333:role/deploy", "RoleArn: deploy"), "E3703", "configuration-value"),
        (("Name: Src", "Name: S r c"), "E3031", "field-constraint"),
        (("Category: Deploy", "Category: Deplay"), "E3030", "field-constraint"),
        (("ArtifactStore: {Type: S3, Location: bucket}", "ArtifactStore: {Type: S3}"), "E3003", "field-required"),
    ],
)  # fmt: skip
def test_what_they_refuse_is_refused(change: tuple[str, str], theirs: str, ours: str, tmp_path: Path) -> None:
    assert change[0] in GOOD
    broken = GOOD.replace(*change)

    assert theirs in findings(broken)
    assert ours in errors(broken, tmp_path)
