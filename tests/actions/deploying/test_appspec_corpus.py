"""AppSpecs that people wrote: each is read as CodeDeploy's agent would read it, and the refused ones say why.

The files and where they come from are in tests/data/appspec.
"""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from prefect_codepipeline.documents.reading import read_document
from prefect_codepipeline.model.appspec.parsing import parse_appspec

KEPT = Path(__file__).parents[2] / "data" / "appspec"
_ASSISTANT = "aws-samples+aws-codedeploy-appspec-assistant__"
_ECS, _LAMBDA = {("", "appspec-ecs")}, {("", "appspec-lambda")}
# AWS's templates with a word in place of each value. The agent fails at the first that it reads.
_PLACEHOLDERS = {
    ("files[0].destination", "appspec-absolute"),
    ("permissions[0].object", "appspec-relative-object"),
    ("permissions[0].except", "appspec-shape"),
    ("permissions[0].mode", "appspec-mode"),
    ("permissions[0].acls[0]", "appspec-acl"),
    ("permissions[0].context.range", "appspec-range"),
    ("permissions[0].type[0]", "appspec-type"),
}
REFUSED = {
    "Andrew-Chen-Wang+cookiecutter-django-ecs-github__appspec.yaml": _ECS,
    f"{_ASSISTANT}ecs-default-appspec-template-advanced.json": _ECS,
    f"{_ASSISTANT}ecs-default-appspec-template-basic.json": _ECS,
    f"{_ASSISTANT}lambda-default-appspec-template-advanced.json": _LAMBDA,
    f"{_ASSISTANT}lambda-default-appspec-template-basic.json": _LAMBDA,
    f"{_ASSISTANT}server-_ec2-and-onPrem_-default-appspec-template-advanced.json": _PLACEHOLDERS,
    # The agent would look for the source and find none: the deployment fails in Install.
    f"{_ASSISTANT}server-_ec2-and-onPrem_-default-appspec-template-basic.json": {
        ("files[0].destination", "appspec-absolute")
    },
    f"{_ASSISTANT}server-_ec2-and-onPrem_-default-appspec-template-uncommented.yml": {
        *_PLACEHOLDERS,
        ("hooks.ApplicationStop[1].timeout", "appspec-timeout"),
    },
}
# Event by event, the scripts of those that are deployed.
SCRIPTS = {
    "aws-samples+aws-codebuild-samples__appspec.yml":
        "ApplicationStop 1, BeforeInstall 1, ApplicationStart 1, ValidateService 1",
    "aws-samples+aws-codedeploy-github-actions-deployment__appspec.yml":
        "ApplicationStop 1, BeforeInstall 1, AfterInstall 1, ApplicationStart 1, ValidateService 1",
    "awslabs+aws-codepipeline-custom-job-worker__src~main~resources~codedeploy~appspec.yml":
        "ApplicationStop 1, BeforeInstall 1, ApplicationStart 1",
    "awslabs+aws-deployment-framework__samples~sample-ec2-java-app-codedeploy~appspec.yml":
        "ApplicationStop 1, ApplicationStart 1, ValidateService 1",
    "slampenny+bianca-app__packages~backend~devops~codedeploy~appspec.yml":
        "ApplicationStop 1, BeforeInstall 1, AfterInstall 1, ApplicationStart 1, ValidateService 1",
    "smbdevops+ec2-codedeploy-docker__codedeploy~appspec.yml":
        "AfterInstall 1, ApplicationStart 1, ValidateService 1",
    "stelligent+devops-essentials__samples~ec2~appspec.yml": "ApplicationStop 1, AfterInstall 2",
    "stelligent+devops-essentials__samples~training~appspec.yml":
        "ApplicationStop 1, BeforeInstall 1, ApplicationStart 2, ValidateService 1",
}  # fmt: skip
FILES = sorted(path for path in KEPT.iterdir() if path.suffix != ".csv")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_it_is_read_as_codedeploy_reads_it(file: Path) -> None:
    document = read_document(file.read_bytes(), file.name)
    spec, problems = parse_appspec(document.content, document.unquoted)

    assert {(each.path, each.rule) for each in problems} == REFUSED.get(file.name, set())
    scripts = spec and ", ".join(f"{event} {len(each)}" for event, each in spec.hooks.items())
    assert scripts == SCRIPTS.get(file.name)


def test_each_kept_file_has_an_origin_and_a_licence() -> None:
    with (KEPT / "ORIGINS.csv").open() as lines:
        rows = {row["file"]: row for row in csv.DictReader(lines)}
    assert rows.keys() == {file.name for file in FILES}
    assert all(row["repo"] and row["commit"] and row["licence"] for row in rows.values())
