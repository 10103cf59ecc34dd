"""The settings beside a definition; a policy in the wrong place would leave an approval to anybody."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefect_codepipeline.deployments.files.settings import read_settings_beside
from prefect_codepipeline.errors import UnreadableDefinition
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration


def _action(name: str, category: str) -> dict[str, object]:
    kind = {"category": category, "owner": "AWS", "provider": "Manual", "version": "1"}
    return {"name": name, "actionTypeId": kind}


DECLARATION = PipelineDeclaration.model_validate(
    {
        "name": "shop",
        "roleArn": "arn:aws:iam::111122223333:role/pipeline",
        "artifactStore": {"type": "S3", "location": "bucket"},
        "stages": [
            {"name": "Build", "actions": [_action("Make", "Build")]},
            {"name": "Production", "actions": [_action("Ok", "Approval"), _action("Ship", "Deploy")]},
        ],
    }
)


def _read(folder: Path, text: str) -> object:
    (folder / "shop.settings.yaml").write_text(text)
    return read_settings_beside(folder / "shop.json", DECLARATION)


@pytest.mark.parametrize("place", ["'*'", "Production", "Production/Ok"])
def test_a_policy_is_read_where_there_is_an_approval(tmp_path: Path, place: str) -> None:
    settings = _read(tmp_path, f"approvals: {{{place}: {{quorum: 2}}}}")

    assert settings.approval_policy("Production", "Ok").quorum == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("approvals: {Prodution/Ok: {quorum: 2}}", "did you mean 'Production/Ok'?"),
        (
            "notifications: [{event_types: [codepipeline-pipeline-stage-execution-faild], slack_channel: ops}]",
            "did you mean 'codepipeline-pipeline-stage-execution-failed'?",
        ),
        (
            "notifications: [{event_types: ['*']}]",
            "notifications.0: Value error, a rule must have a slack_channel",
        ),
        (
            "approvals: {Build: {}}",
            "'Build' is neither a stage with an approval nor an approval 'Stage/Action'",
        ),
        ("approvals: {Production/Ship: {}}", "'Production/Ship' is neither a stage"),
        ("overrides: {Prodution/Ship: {work_pool: dmz}}", "did you mean 'Production/Ship'?"),
        ("overrides: {Make: {work_pool: gpu}}", "'Make' is neither a stage nor an action 'Stage/Action'"),
        (
            "job_variables: {env: {DAY: 2026-01-01}}",
            "job variable 'env' cannot be written as JSON: Object of type date",
        ),
        (
            "defaults: {work_pool: gpu, job_variables: {memory: .nan}}",
            "job variable 'memory' cannot be written",
        ),
        (
            "overrides: {Build: {work_pool: gpu, job_variables: {env: !!binary '//8='}}}",
            "job variable 'env' cannot be written as JSON",
        ),
        ("approvals: {Production: {quorom: 2}}", "approvals.Production.quorom: Extra inputs"),
        ("approval: {}", "expected a mapping with only the keys approvals, artifact_store"),
    ],
)
def test_a_policy_in_the_wrong_place_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UnreadableDefinition, match=r"shop\.settings\.yaml: .*") as refused:
        _read(tmp_path, text)

    assert message in str(refused.value)


def test_a_wait_of_centuries_is_one_of_a_year(tmp_path: Path) -> None:
    many = 10**20
    settings = _read(
        tmp_path, f"{{defaults: {{wait_minutes: {many}}}, overrides: {{Build: {{wait_minutes: {many}}}}}}}"
    )

    assert {settings.for_action(stage, "Make").wait_minutes for stage in ("Build", "Other")} == {525_600}


def test_no_settings_are_none(tmp_path: Path) -> None:
    assert read_settings_beside(tmp_path / "shop.json", DECLARATION) is None
