"""`codepipeline trigger test` as a user types it, with bodies as hosts send them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prefect_codepipeline.cli import app
from prefect_codepipeline.errors import CodePipelineError

WEBHOOKS = Path(__file__).parent.parent.parent / "data/webhooks"
PIPELINE = """\
pipeline:
  name: shop
  roleArn: arn:aws:iam::111122223333:role/p
  pipelineType: V2
  artifactStore: {type: S3, location: bucket}
  triggers:
    - providerType: CodeStarSourceConnection
      gitConfiguration:
        sourceActionName: Src
        push:
          - branches: {includes: [main, release/*]}
            filePaths: {excludes: ["docs/**"]}
          - tags: {includes: ["v*"]}
        pullRequest:
          - events: [OPEN, UPDATED]
            branches: {includes: [main]}
  stages:
    - name: Source
      actions:
        - name: Src
          actionTypeId: {category: Source, owner: AWS, provider: CodeStarSourceConnection, version: 1}
          configuration: {ConnectionArn: github, FullRepositoryId: acme/shop, BranchName: main}
          outputArtifacts: [{name: Source}]
    - name: Ask
      actions:
        - name: Ask
          actionTypeId: {category: Approval, owner: AWS, provider: Manual, version: 1}
"""


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    path = tmp_path / "pipeline.yaml"
    path.write_text(PIPELINE)
    return path


def run(capsys: pytest.CaptureFixture[str], pipeline: Path, event: Path, *arguments: str) -> tuple[int, str]:
    command = ["trigger", "test", str(pipeline), "--event", str(event), *arguments]
    code = app(command, result_action="return_value")
    return code, capsys.readouterr().out


def test_the_filter_that_matches_is_named_and_the_others_say_why_not(
    pipeline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = run(capsys, pipeline, WEBHOOKS / "gitea-push.json")

    assert code == 0
    assert out.splitlines() == [
        "push to branch 'main' of acme/shop at 9d2e7b1a4c3f",
        "shop starts, with trigger WebhookV2 of github",
        "  Src reads 9d2e7b1a4c3f5e6d7a8b9c0d1e2f3a4b5c6d7e8f",
        "  matches   triggers[0].gitConfiguration.push[0] of Src: branch 'main' matches 'main', "
        "file 'src/cart.py' is not excluded",
        "  does not  triggers[0].gitConfiguration.push[1] of Src: it applies to a tag, and this push has none",
        "  does not  triggers[0].gitConfiguration.pullRequest[0] of Src: it applies to pull requests",
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ((), 0, "shop starts if the changed files match: test this with --changed-file PATH"),
        (("--changed-file", "docs/a"), 0, "file 'docs/a' is excluded by 'docs/**'"),
        (("--changed-file", "docs/a", "--changed-file", "b"), 0, "file 'b' is not excluded"),
    ],
)
def test_changed_files_that_the_host_does_not_list_can_be_said(
    pipeline: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    # Its second push, of a tag, starts in any case.
    found, out = run(capsys, pipeline, WEBHOOKS / "bitbucket-push.json", *arguments)

    assert found == code
    assert sentence in out


def test_an_event_of_our_own_form_that_starts_nothing_exits_with_1(
    pipeline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"repository": "acme/shop", "commit": "a" * 40, "branch": "dev"}))

    code, out = run(capsys, pipeline, event)

    assert code == 1
    assert "shop does not start" in out
    assert "branch 'dev' does not match 'main' or 'release/*'" in out


@pytest.mark.parametrize(
    ("name", "repository"),
    [
        ("github-push-branch", "Codertocat/Hello-World"),
        ("github-pr-opened", "Codertocat/Hello-World"),
        ("gitlab-tag", "acme/web/shop"),
        ("gitlab-mr-open", "acme/web/shop"),
    ],
)
def test_whose_body_it_is_is_seen_without_headers(
    pipeline: Path, capsys: pytest.CaptureFixture[str], name: str, repository: str
) -> None:
    code, out = run(capsys, pipeline, WEBHOOKS / f"{name}.json")

    assert code == 1
    assert f"the event is of repository '{repository}', the action reads 'acme/shop'" in out


def test_json_for_programs(pipeline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = run(capsys, pipeline, WEBHOOKS / "bitbucket-pr-created.json", "--json")

    (found,) = json.loads(out)
    assert code == 0
    assert found["starts"] is True
    assert found["trigger"] == {"triggerType": "WebhookV2", "triggerDetail": "github"}
    assert found["considered"][2]["answer"] == "matches"


@pytest.mark.parametrize(
    ("body", "arguments", "message"),
    [
        ({"zen": "x"}, (), "name its kind with --header"),
        ({"zen": "x"}, ("--header", "X-GitHub-Event=ping"), "a ping.*starts nothing"),
        ({}, ("--header", "X-GitHub-Event"), "takes NAME=VALUE"),
    ],
)
def test_what_is_no_event_is_refused(
    pipeline: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    body: Any,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    event = tmp_path / "event.json"
    event.write_text(json.dumps(body))

    with pytest.raises(CodePipelineError, match=message):
        run(capsys, pipeline, event, *arguments)


def test_a_file_that_is_not_there_is_named(pipeline: Path, tmp_path: Path, capsys: Any) -> None:
    with pytest.raises(CodePipelineError, match=r"nothing\.json: cannot be read: No such file"):
        run(capsys, pipeline, tmp_path / "nothing.json")
