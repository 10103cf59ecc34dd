"""The truth table of AWS's trigger filters, and what V1 pipelines detect, as a user writes the definitions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.triggers.git_event import GitEvent, PullRequest
from prefect_codepipeline.model.triggers.matching import decide, git_places, is_polled

OLD, NEW = "a" * 40, "b" * 40
ARN = "arn:aws:codeconnections:eu-west-1:111111111111:connection/1"


def push(branch: str, *files: str, base: str | None = OLD) -> GitEvent:
    return GitEvent("github", "acme/shop", NEW, branch=branch, base=base, changed_files=files or None)


def tag(name: str) -> GitEvent:
    return GitEvent("github", "acme/shop", NEW, tag=name)


def pull_request(event: Any, target: str, *files: str) -> GitEvent:
    request = PullRequest(event, 7, "feature", target, source_repository="acme/shop")
    return GitEvent("github", "acme/shop", NEW, pull_request=request, base=OLD, changed_files=files or None)


def connection(name: str = "Source", branch: str = "main", **more: str) -> dict[str, Any]:
    configuration = {"ConnectionArn": ARN, "FullRepositoryId": "acme/shop", "BranchName": branch, **more}
    return source(name, "AWS", "CodeStarSourceConnection", configuration)


def source(name: str, owner: str, provider: str, configuration: dict[str, str]) -> dict[str, Any]:
    return {
        "name": name,
        "actionTypeId": {"category": "Source", "owner": owner, "provider": provider, "version": "1"},
        "configuration": configuration,
        "outputArtifacts": [{"name": name}],
    }


def pipeline(*sources: dict[str, Any], **triggers: Any) -> PipelineDeclaration:
    """With one trigger for the action `Source`, when there are filters."""
    found = [
        {
            "providerType": "CodeStarSourceConnection",
            "gitConfiguration": {"sourceActionName": "Source", **triggers},
        }
    ]
    approval = {
        "name": "Ask",
        "actionTypeId": {"category": "Approval", "owner": "AWS", "provider": "Manual", "version": "1"},
    }
    return PipelineDeclaration.model_validate(
        {
            "name": "shop",
            "roleArn": "arn:aws:iam::111111111111:role/r",
            "artifactStore": {"type": "S3", "location": "bucket"},
            "pipelineType": "V2",
            "stages": [
                {"name": "Source", "actions": list(sources or [connection()])},
                {"name": "Ask", "actions": [approval]},
            ],
            **({"triggers": found} if triggers else {}),
        }
    )  # fmt: skip


def includes(*patterns: str) -> dict[str, Any]:
    return {"includes": list(patterns)}


def excludes(*patterns: str) -> dict[str, Any]:
    return {"excludes": list(patterns)}


@pytest.mark.parametrize(
    ("filters", "event", "starts"),
    [
        # Branches: an include matches, no exclude does; an exclude wins, the identical pattern too.
        ([{"branches": includes("main")}], push("main"), True),
        ([{"branches": includes("main")}], push("Main"), False),
        ([{"branches": includes("main", "dev")}], push("dev"), True),
        ([{"branches": includes("feature/*")}], push("feature/a/b"), False),
        ([{"branches": includes("feature/**")}], push("feature/a/b"), True),
        ([{"branches": excludes("x")}], push("main"), True),
        ([{"branches": excludes("x")}], push("x"), False),
        ([{"branches": {**includes("**"), **excludes("x")}}], push("x"), False),
        ([{"branches": {**includes("main"), **excludes("main")}}], push("main"), False),
        ([{"branches": {}}], push("anything"), True),
        # Tags; a push is to a tag or to a branch, so a filter of both never matches.
        ([{"tags": includes("v*")}], tag("v1"), True),
        ([{"tags": {**includes("v*"), **excludes("v0*")}}], tag("v0.9"), False),
        ([{"tags": includes("v*")}], push("v1"), False),
        ([{"branches": includes("v*")}], tag("v1"), False),
        ([{"tags": includes("v*"), "branches": includes("main")}], tag("v1"), False),
        ([{"tags": includes("v*"), "branches": includes("main")}], push("main"), False),
        # What is absent asks for nothing.
        ([{}], push("anything"), True),
        ([{}], tag("v1"), True),
        # Files: one that is included and not excluded is enough, each judged alone.
        ([{"branches": includes("main"), "filePaths": includes("a/**")}], push("main", "a/x"), True),
        ([{"branches": includes("main"), "filePaths": includes("a/**")}], push("main", "b/x"), False),
        ([{"branches": includes("main"), "filePaths": includes("a/**")}], push("dev", "a/x"), False),
        ([{"branches": includes("main"), "filePaths": includes("a/**")}], push("main", "b", "a/x"), True),
        ([{"filePaths": excludes("**/README.md")}], push("main", "README.md", "a/README.md"), False),
        ([{"filePaths": excludes("**/README.md")}], push("main", "README.md", "a/x"), True),
        ([{"filePaths": {**includes("a/**"), **excludes("**/*.md")}}], push("main", "a/x.md", "b/x.py"), False),
        ([{"filePaths": includes("a/*")}], push("main", "a/b/c"), False),
        # More than 100 files, unlike AWS: the one that counts is not missed.
        ([{"filePaths": includes("z")}], push("main", *(f"f{n}" for n in range(150)), "z"), True),
        # The first push of a branch has nothing to compare with.
        ([{"branches": includes("new"), "filePaths": includes("**")}], push("new", base=None), False),
        ([{"branches": includes("new")}], push("new", base=None), True),
        # Filters are alternatives.
        ([{"branches": includes("a")}, {"branches": includes("b")}], push("b"), True),
        ([{"branches": includes("a")}, {"tags": includes("b")}], tag("b"), True),
        ([{"branches": includes("a")}, {"branches": includes("b")}], push("c"), False),
        # A pattern that is no glob starts nothing.
        ([{"branches": includes("main", "[")}], push("main"), False),
        ([{"branches": excludes("[")}], push("main"), False),
        ([{"filePaths": excludes("{a")}], push("main", "x"), False),
        ([{"branches": includes("main")}], pull_request("OPEN", "main"), False),
    ],
)  # fmt: skip
def test_push_filters(filters: Any, event: GitEvent, starts: bool) -> None:
    decision = decide(pipeline(push=filters), event)

    assert decision.starts == starts, decision
    assert not decision.needs_changed_files


@pytest.mark.parametrize(
    ("filters", "event", "starts"),
    [
        ([{"events": ["OPEN"], "branches": includes("main")}], pull_request("OPEN", "main"), True),
        ([{"events": ["OPEN"], "branches": includes("main")}], pull_request("CLOSED", "main"), False),
        ([{"events": ["OPEN", "UPDATED"]}], pull_request("UPDATED", "dev"), True),
        ([{"events": ["CLOSED"]}], pull_request("CLOSED", "dev"), True),
        # The target branch counts, not the source.
        ([{"branches": includes("feature")}], pull_request("OPEN", "main"), False),
        ([{"branches": excludes("main")}], pull_request("OPEN", "main"), False),
        # Without events: all three.
        ([{"branches": includes("main")}], pull_request("OPEN", "main"), True),
        ([{"branches": includes("main")}], pull_request("CLOSED", "main"), True),
        ([{"filePaths": includes("src/**")}], pull_request("OPEN", "main", "docs/x"), False),
        ([{"filePaths": includes("src/**")}], pull_request("OPEN", "main", "docs/x", "src/y"), True),
        ([{"branches": includes("main")}], push("main"), False),
        ([{"branches": includes("main")}], tag("main"), False),
    ],
)  # fmt: skip
def test_pull_request_filters(filters: Any, event: GitEvent, starts: bool) -> None:
    assert decide(pipeline(pullRequest=filters), event).starts == starts


def test_one_execution_however_many_filters_match() -> None:
    declaration = pipeline(push=[{"branches": includes("main")}, {"branches": includes("m*")}])

    decision = decide(declaration, push("main"))

    assert [each.answer for each in decision.considered] == ["matches", "matches"]
    assert decision.match
    assert decision.match.path == "triggers[0].gitConfiguration.push[0]"
    assert decision.source_revisions == {"Source": NEW}
    assert (decision.trigger_type, decision.trigger_detail) == ("WebhookV2", ARN)


def test_every_filter_says_why_it_does_not_match() -> None:
    declaration = pipeline(
        push=[
            {"branches": includes("dev")},
            {"branches": {**includes("*"), **excludes("ma?n")}},
            {"tags": includes("v*")},
        ],
        pullRequest=[{"events": ["OPEN"]}],
    )

    reasons = [each.reason for each in decide(declaration, push("main")).considered]

    assert reasons == [
        "branch 'main' does not match 'dev'",
        "branch 'main' is excluded by 'ma?n'",
        "it applies to a tag, and this push has none",
        "it applies to pull requests",
    ]


def test_unknown_files_are_asked_for_only_where_they_decide() -> None:
    declaration = pipeline(push=[{"branches": includes("main"), "filePaths": includes("a/**")}])
    event = push("main")

    assert decide(declaration, event).needs_changed_files
    assert not decide(declaration, event).starts
    assert not decide(declaration, push("dev")).needs_changed_files
    assert decide(declaration, replace(event, changed_files=("a/b",))).starts
    assert not decide(declaration, replace(event, changed_files=())).starts


CODECOMMIT = {"RepositoryName": "shop", "BranchName": "main"}
GITHUB = {"Owner": "acme", "Repo": "shop", "Branch": "main", "OAuthToken": "****"}


@pytest.mark.parametrize(
    ("action", "way", "event", "trigger_type"),
    [
        (connection(), "webhook", push("main"), "WebhookV2"),
        (connection(), "webhook", push("dev"), None),
        (connection(), "webhook", tag("main"), None),
        (connection(), "webhook", pull_request("OPEN", "main"), None),
        (connection(DetectChanges="true"), "poll", push("main"), "PollForSourceChanges"),
        (connection(DetectChanges="false"), "webhook", push("main"), None),
        (connection(DetectChanges="false"), "poll", push("main"), None),
        (connection(FullRepositoryId="ACME/Shop"), "webhook", push("main"), "WebhookV2"),
        (connection(FullRepositoryId="other/shop"), "webhook", push("main"), None),
        (source("Source", "AWS", "CodeCommit", CODECOMMIT), "poll", push("main"), "PollForSourceChanges"),
        (source("Source", "AWS", "CodeCommit", CODECOMMIT), "webhook", push("main"), "CloudWatchEvent"),
        (source("Source", "AWS", "CodeCommit", {**CODECOMMIT, "PollForSourceChanges": "false"}), "poll", push("main"), None),
        (source("Source", "ThirdParty", "GitHub", GITHUB), "poll", push("main"), "PollForSourceChanges"),
        (source("Source", "ThirdParty", "GitHub", {**GITHUB, "PollForSourceChanges": "false"}), "poll", push("main"), None),
        (source("Source", "ThirdParty", "GitHub", {**GITHUB, "PollForSourceChanges": "false"}), "webhook", push("main"), "Webhook"),
        (source("Source", "ThirdParty", "GitHub", GITHUB), "webhook", push("dev"), None),
        (source("Source", "AWS", "S3", {"S3Bucket": "b", "S3ObjectKey": "k"}), "webhook", push("main"), None),
    ],
)  # fmt: skip
def test_without_filters_a_push_to_its_branch_starts(
    action: dict[str, Any], way: Any, event: GitEvent, trigger_type: str | None
) -> None:
    assert decide(pipeline(action), event, way).trigger_type == trigger_type


def test_a_trigger_without_filters_is_the_default_detection_whatever_the_action_says() -> None:
    declaration = pipeline(connection(DetectChanges="false"), push=None)

    assert decide(declaration, push("main")).starts
    assert not decide(declaration, push("dev")).starts


def test_filters_turn_the_actions_own_detection_off() -> None:
    declaration = pipeline(connection(branch="main"), push=[{"branches": includes("release/*")}])

    assert not decide(declaration, push("main")).starts
    assert decide(declaration, push("release/1")).starts


def test_only_the_sources_that_match_take_the_commit() -> None:
    declaration = pipeline(
        connection("Source", "main"), connection("Other", "dev"), connection("Same", "main")
    )

    decision = decide(declaration, push("main"))

    assert decision.source_revisions == {"Source": NEW, "Same": NEW}
    assert [each.reason for each in decision.considered if each.answer == "differs"] == [
        "its branch is 'dev'"
    ]


def test_an_event_of_one_host_is_none_of_another_with_a_repository_of_that_name() -> None:
    declaration = pipeline(connection("Source"), connection("Other"))

    assert decide(declaration, push("main"), actions=["Other"]).source_revisions == {"Other": NEW}
    assert not decide(declaration, push("main"), actions=[]).starts


@pytest.mark.parametrize(
    ("declaration", "connections", "polled"),
    [
        (pipeline(connection()), True, True),
        (pipeline(connection()), False, False),
        (pipeline(connection(DetectChanges="false")), True, False),
        (pipeline(connection(DetectChanges="false"), push=[{"branches": includes("x")}]), True, True),
        (pipeline(connection(), pullRequest=[{"events": ["OPEN"]}]), True, False),
        (pipeline(connection(), push=None), True, True),
        (pipeline(source("Source", "AWS", "CodeCommit", CODECOMMIT)), False, True),
        (pipeline(source("Source", "AWS", "CodeCommit", {**CODECOMMIT, "PollForSourceChanges": "false"})), True, False),
        (pipeline(source("Source", "ThirdParty", "GitHub", GITHUB)), False, True),
    ],
)  # fmt: skip
def test_what_is_polled(declaration: PipelineDeclaration, connections: bool, polled: bool) -> None:
    (place,) = git_places(declaration)

    assert is_polled(declaration, place, connections) == polled
