"""Source/ThirdParty/GitHub/1."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from prefect_codepipeline.actions.git.connections import GitHubSourceConfiguration
from prefect_codepipeline.actions.git.source import GitSource, read_source
from prefect_codepipeline.actions.registry import get_provider
from prefect_codepipeline.blocks.git_connection import GitConnection
from prefect_codepipeline.model.definition.declaration import ActionTypeId
from prefect_codepipeline.tasks.providers.source.github_source import output_variables

CONFIGURATION = {"Owner": "me", "Repo": "app", "Branch": "main", "OAuthToken": "gho_5ecret"}


@pytest.mark.parametrize(
    ("page", "address"),
    [
        ("https://github.com/{FullRepositoryId}/commit/{CommitId}", "https://github.com/me/app/commit/{}"),
        (None, ""),
    ],
)
def test_output_variables(page, address, repository, make_source_context):
    configuration = GitHubSourceConfiguration.model_validate(CONFIGURATION)
    connection = GitConnection(url_template=str(repository.path.parent / "{Repo}"), commit_url_template=page)
    source = GitSource(connection, "me/app", "main")
    result = read_source(
        source, make_source_context(), lambda commit: output_variables(configuration, source, commit)
    )

    commit = repository.git("rev-parse", "main")
    assert result.output_variables == {
        "AuthorDate": "2019-10-29T03:32:21Z",
        "BranchName": "main",
        "CommitId": commit,
        "CommitMessage": "First commit\n\nwith a body",
        "CommitUrl": address.format(commit),
        "CommitterDate": "2019-10-30T00:00:00Z",
        "RepositoryName": "app",
    }
    assert (result.source_revision.revision_url or "") == address.format(commit)


def test_the_token_is_a_secret():
    configuration = GitHubSourceConfiguration.model_validate(CONFIGURATION)
    provider = get_provider(
        ActionTypeId(category="Source", owner="ThirdParty", provider="GitHub", version="1")
    )

    assert "gho_5ecret" not in repr(configuration)
    assert provider.secrets == {"OAuthToken"}


def test_the_mask_of_a_token_is_no_token():
    assert GitHubSourceConfiguration.model_validate(CONFIGURATION | {"OAuthToken": "****"}).token is None
    assert GitHubSourceConfiguration.model_validate(CONFIGURATION).token is not None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"PollForSourceChanges": "maybe"}, "'true' or 'false'"),
        ({"Owner": "me/you"}, "Owner"),
        ({"Repo": "../../etc"}, "Repo"),
        ({"OAuthToken": None}, "valid string"),
        ({"OutputArtifactFormat": "CODE_ZIP"}, "Extra inputs"),
    ],
)
def test_rejects_configuration(change, message):
    with pytest.raises(ValidationError, match=message) as refused:
        GitHubSourceConfiguration.model_validate(CONFIGURATION | change)
    assert "gho_5ecret" not in str(refused.value)
