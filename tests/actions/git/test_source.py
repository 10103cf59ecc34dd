"""Finding the connection of a source action in Prefect, on a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from prefect_codepipeline.actions.git.source import find_connection, find_named_connection
from prefect_codepipeline.actions.registry import ActionProvider, get_provider
from prefect_codepipeline.blocks.git_connection import GitConnection
from prefect_codepipeline.errors import ActionFailed, MissingBlock
from prefect_codepipeline.model.definition.declaration import ActionTypeId
from prefect_codepipeline.prefect_api.client import call, client

ARN = "arn:aws:codestar-connections:eu-west-1:111122223333:connection/aEXAMPLE-8aad"
TOKEN = "t0ken-of-the-block"


@pytest.fixture
def save(prefect_server: str) -> Iterator:
    """Save a connection for the time of a test."""
    names: list[str] = []

    def save(name: str, **fields: str) -> None:
        GitConnection(**fields).save(name, overwrite=True)
        names.append(name)

    yield save
    for name in names:
        _, document = call("GET", f"/block_types/slug/git-connection/block_documents/name/{name}")
        client().delete_block_document(document["id"])


def provider(owner: str, name: str) -> ActionProvider:
    return get_provider(ActionTypeId(category="Source", owner=owner, provider=name, version="1"))


def test_a_connection_is_found_by_its_arn_with_its_secrets(save):
    save("other", url_template="/srv/other/{Repo}", connection_arn=ARN + "-2")
    save("mine", url_template="/srv/{Repo}", connection_arn=ARN, token=TOKEN)
    connection = find_connection(ARN)

    assert connection.url_template == "/srv/{Repo}"
    assert connection.token.get_secret_value() == TOKEN


def test_a_value_that_is_no_arn_is_the_name_of_a_block(save):
    save("mine", url_template="/srv/{Repo}")

    assert find_connection("mine").url_template == "/srv/{Repo}"


def test_a_missing_connection_names_the_command_that_makes_it(prefect_server):
    with pytest.raises(MissingBlock) as missing:
        find_connection(ARN)
    assert str(missing.value).endswith(
        f"codepipeline connection add github --url 'https://github.com/{{FullRepositoryId}}.git' --arn {ARN}"
    )


@pytest.mark.parametrize("name", ["nowhere", "../../health", "Not A Name!", "a/b", ""])
def test_a_missing_name_names_the_command_that_makes_it(name, prefect_server):
    with pytest.raises(MissingBlock, match=r"codepipeline connection add .* --url 'https"):
        find_connection(name)


def test_two_connections_of_one_arn_are_reported(save):
    save("one", url_template="/srv/{Repo}", connection_arn=ARN)
    save("two", url_template="/srv/{Repo}", connection_arn=ARN)

    with pytest.raises(
        ActionFailed, match=r"'one', 'two' all have the ConnectionArn .* git-connection/two"
    ) as failure:
        find_connection(ARN)
    assert failure.value.code == "ConfigurationError"


def test_the_first_name_that_exists_wins(save):
    save("default", url_template="/srv/default")
    assert find_named_connection("github", "default").url_template == "/srv/default"

    save("github", url_template="/srv/github")
    assert find_named_connection("github", "default").url_template == "/srv/github"


def test_a_block_that_was_changed_to_something_unsafe_is_refused(save):
    save("mine", url_template="/srv/{Repo}", token=TOKEN)
    _, document = call("GET", "/block_types/slug/git-connection/block_documents/name/mine")
    # As Prefect's UI does it: it knows the types of the fields only.
    call("PATCH", f"/block_documents/{document['id']}", {"data": {"url_template": "ext::sh -c x"}})

    with pytest.raises(
        ActionFailed,
        match=r"^GitConnection block 'mine' cannot be used: url_template: .*not a repository URL.*; correct it in Prefect's UI, "
        r"or replace it with: codepipeline connection add mine --url 'https://github.com/\{FullRepositoryId\}.git'$",
    ) as failure:
        find_connection("mine")
    assert failure.value.code == "ConfigurationError"


CODESTAR = {"ConnectionArn": ARN, "FullRepositoryId": "me/app", "BranchName": "main"}
GITHUB = {"Owner": "me", "Repo": "app", "Branch": "main", "OAuthToken": "****"}
CODECOMMIT = {"RepositoryName": "app", "BranchName": "main"}


@pytest.mark.parametrize(
    ("owner", "name", "configuration"),
    [
        ("AWS", "CodeStarSourceConnection", CODESTAR),
        ("ThirdParty", "GitHub", GITHUB),
        ("AWS", "CodeCommit", CODECOMMIT),
    ],
)
def test_each_provider_goes_from_block_to_tree(
    owner, name, configuration, save, repository, make_source_context
):
    found = provider(owner, name)
    context = make_source_context(name, owner)
    with pytest.raises(ActionFailed, match="codepipeline connection add") as failure:
        found.run(found.configuration.model_validate(configuration), context)
    assert failure.value.code == "ConfigurationError"

    save("default", url_template=str(repository.path.parent / "{Repo}"), connection_arn=ARN)
    result = found.run(found.configuration.model_validate(configuration), context)
    assert (result.output_artifacts["SourceOutput"].directory / "README.md").read_text() == "hello\n"


def test_the_token_of_a_github_action_wins_over_the_connection_s(
    save, repository, git_host, make_source_context
):
    git_host.token = "of-the-action"
    found = provider("ThirdParty", "GitHub")
    save("github", url_template=f"{git_host.url}/{{Repo}}/.git", token=TOKEN)

    with pytest.raises(ActionFailed) as failure:
        found.run(found.configuration.model_validate(GITHUB), make_source_context("GitHub", "ThirdParty"))
    assert failure.value.code == "PermissionError"
    own = found.configuration.model_validate({**GITHUB, "OAuthToken": "of-the-action"})
    assert found.run(own, make_source_context("GitHub", "ThirdParty")).summary == "First commit"
