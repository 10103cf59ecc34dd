"""A pull request of a fork starts nothing, for every host, as the host sends it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.payloads import read_payload
from prefect_codepipeline.model.triggers.git_event import GitEvent
from prefect_codepipeline.model.triggers.matching import Decision, Forks, decide

DATA = Path(__file__).parent.parent.parent / "data/webhooks"
# Of each host: a request, its headers, and the place of the repository with the code.
HOSTS: dict[str, tuple[str, dict[str, str], tuple[str, ...], str]] = {
    "github": ("github-pr-opened", {"X-GitHub-Event": "pull_request"}, ("pull_request", "head", "repo"), "full_name"),
    "gitlab": (
        "gitlab-mr-open",
        {"X-Gitlab-Event": "Merge Request Hook"},
        ("object_attributes", "source"),
        "path_with_namespace",
    ),
    "bitbucket": (
        "bitbucket-pr-created",
        {"X-Event-Key": "pullrequest:created"},
        ("pullrequest", "source", "repository"),
        "full_name",
    ),
    "gitea": (
        "gitea-pr-synchronized",
        {"X-Gitea-Event": "pull_request"},
        ("pull_request", "head", "repo"),
        "full_name",
    ),
}  # fmt: skip


def request_of(host: str, source: str | None) -> GitEvent:
    """The pull request as that host sends it, with the code in another repository; None: one that was deleted."""
    name, headers, place, key = HOSTS[host]
    body = json.loads((DATA / f"{name}.json").read_text())
    part = body
    for step in place[:-1]:
        part = part[step]
    part[place[-1]] = None if source is None else {**(part[place[-1]] or {}), key: source}
    (event,) = read_payload(headers, json.dumps(body).encode()).events
    return event


def decision(event: GitEvent, forks: Forks = "never", target: str = "**") -> Decision:
    source = {
        "name": "Src",
        "actionTypeId": {"category": "Source", "owner": "AWS", "provider": "CodeStarSourceConnection", "version": "1"},
        "configuration": {"ConnectionArn": "c", "FullRepositoryId": event.repository, "BranchName": "main"},
        "outputArtifacts": [{"name": "Source"}],
    }  # fmt: skip
    ask = {"category": "Approval", "owner": "AWS", "provider": "Manual", "version": "1"}
    wire: dict[str, Any] = {
        "name": "site",
        "roleArn": "arn:aws:iam::111122223333:role/r",
        "artifactStore": {"type": "S3", "location": "bucket"},
        "pipelineType": "V2",
        "stages": [
            {"name": "Source", "actions": [source]},
            {"name": "Ask", "actions": [{"name": "Ask", "actionTypeId": ask}]},
        ],
        "triggers": [
            {
                "providerType": "CodeStarSourceConnection",
                "gitConfiguration": {"sourceActionName": "Src", "pullRequest": [{"branches": {"includes": [target]}}]},
            }
        ],
    }  # fmt: skip
    return decide(PipelineDeclaration.model_validate(wire), event, forks=forks)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(
    ("source", "named"), [("evil/site", "the fork evil/site"), (None, "a repository that is not known")]
)
def test_a_pull_request_of_a_fork_starts_nothing_and_names_it(
    host: str, source: str | None, named: str
) -> None:
    event = request_of(host, source)
    refused, held, allowed = decision(event), decision(event, "ask"), decision(event, "always")

    assert f" of {named} to " in str(event)
    assert not refused.starts
    assert f"of {named} starts nothing" in refused.held
    assert not refused.may_be_allowed
    assert not held.starts
    assert held.may_be_allowed
    assert held.source_revisions == {"Src": event.commit}
    assert allowed.starts


@pytest.mark.parametrize("host", HOSTS)
def test_a_pull_request_from_a_branch_of_the_repository_starts(host: str) -> None:
    repository = request_of(host, "x/y").repository

    event = request_of(host, repository.upper())

    assert event.fork == ""
    assert decision(event).starts


def test_gitea_names_its_own_repository_for_what_everybody_may_push_to_refs_for() -> None:
    body = json.loads((DATA / "gitea-pr-synchronized.json").read_text())
    body["pull_request"]["head"] |= {"ref": "refs/pull/7/head", "label": ""}

    (event,) = read_payload({"X-Gitea-Event": "pull_request"}, json.dumps(body).encode()).events

    assert not decision(event).starts
    assert event.fork == "a repository that is not known"


def test_what_no_filter_matches_is_not_called_held() -> None:
    found = decision(request_of("github", "evil/site"), target="release/*")

    assert not found.starts
    assert found.held == ""
