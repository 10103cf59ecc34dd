"""GitConnection: the addresses it makes of names, and those it refuses."""

from __future__ import annotations

import pytest
from prefect.blocks.core import Block
from prefect.testing.standard_test_suites import BlockStandardTestSuite
from pydantic import ValidationError

from prefect_codepipeline.blocks.git_connection import GitConnection, default_username

COMMIT = "4e2533005d7ba5bef1c7fe1cd81bd95f7b6a615c"


class TestGitConnection(BlockStandardTestSuite):
    @pytest.fixture
    def block(self) -> type[Block]:
        return GitConnection

    def test_has_a_valid_image(self, block: type[Block]) -> None:
        pytest.skip("the block has no logo: Prefect's UI would fetch one from the internet")


@pytest.mark.parametrize(
    ("template", "repository", "url"),
    [
        ("https://github.com/{FullRepositoryId}.git", "me/app", "https://github.com/me/app.git"),
        (
            "https://gitlab.com/{FullRepositoryId}.git",
            "group/sub/app",
            "https://gitlab.com/group/sub/app.git",
        ),
        ("https://example.com/{Owner}/_git/{Repo}", "org/app", "https://example.com/org/_git/app"),
        ("https://example.com/{FullRepositoryId}", "my org/ä.b", "https://example.com/my%20org/%C3%A4.b"),
        ("https://me@example.com/{RepositoryName}", "app", "https://me@example.com/app"),
        ("ssh://git@example.com:2222/{Owner}/{Repo}", "me/app", "ssh://git@example.com:2222/me/app"),
        ("git@github.com:{FullRepositoryId}.git", "me/app", "git@github.com:me/app.git"),
        ("http://[::1]:8080/{Repo}", "me/app", "http://[::1]:8080/app"),
        ("/srv/git/{Repo}.git", "me/app", "/srv/git/app.git"),
        ("/srv/my repositories/{Repo}", "me/.github", "/srv/my repositories/.github"),
        ("/srv/app", "me/whatever", "/srv/app"),
        ("file:///srv/{Repo}", "me/app", "file:///srv/app"),
    ],
)
def test_fills_the_template(template, repository, url):
    assert GitConnection(url_template=template).repository_url(repository) == url


@pytest.mark.parametrize(
    "repository",
    [
        "../../etc",
        "me/../../etc",
        "me/..",
        ".",
        "",
        "me/",
        "/etc",
        "me//app",
        "me/.git",
        "-oProxyCommand=x/app",
        "me/--upload-pack=x",
        "me/app\nx",
        "me/app\x00",
        "~root/app",
        "me@evil.example/app",
        "me:x/app",
        "me/%2e%2e",
        "me\\..\\x",
    ],
)
@pytest.mark.parametrize("template", ["/srv/{FullRepositoryId}", "https://example.com/{Repo}"])
def test_a_name_cannot_leave_its_place(template, repository):
    with pytest.raises(ValueError, match="is not a repository name"):
        GitConnection(url_template=template).repository_url(repository)


def test_an_owner_that_is_asked_for_and_missing_is_reported():
    connection = GitConnection(url_template="https://example.com/{Owner}/{Repo}")

    with pytest.raises(ValueError, match="'app' has no owner, but"):
        connection.repository_url("app")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("ext::sh -c touch% x", "is not a repository URL"),
        ("fd::17", "is not a repository URL"),
        ("ext::ssh://host/x", "transport 'ext::ssh' is not allowed"),
        ("ftp://example.com/x", "transport 'ftp' is not allowed"),
        ("HTTPS://example.com/x", "transport 'HTTPS' is not allowed"),
        ("--upload-pack=x", "is not a repository URL"),
        ("repositories/app", "use a URL (https"),
        ("", "is not a repository URL"),
        ("https://example.com/x\n--y", "is not a repository URL"),
        ("https:///x", "has no valid host"),
        ("ssh://-oProxyCommand=x/y", "has no valid host"),
        ("ssh://git@-oProxyCommand=x/y", "has no valid host"),
        ("-oProxyCommand=x:y", "is not a repository URL"),
        ("git@-oProxyCommand=x:y", "is not a repository URL"),
        ("file://host/x", "is not a local path"),
        ("https://example.com/x?private_token=y", "use the token field for a token"),
        ("https://example.com/{Name}", "placeholder {Name} is not known; use {Owner}"),
        ("https://example.com/{}", "placeholder {} is not known"),
    ],
)
def test_refuses_a_template(template, message):
    with pytest.raises(ValidationError) as refused:
        GitConnection(url_template=template)
    assert message in str(refused.value)


def test_a_password_in_the_template_is_refused_and_not_repeated():
    with pytest.raises(ValidationError, match="contains a password") as refused:
        GitConnection(url_template="https://me:5ecret@example.com/{Repo}")
    assert "5ecret" not in str(refused.value)


def test_secrets_are_not_shown():
    connection = GitConnection(url_template="/srv/{Repo}", token="t0ken", ssh_key="k3y")

    assert "t0ken" not in repr(connection)
    assert "k3y" not in repr(connection)


@pytest.mark.parametrize(
    ("template", "page"),
    [
        ("https://github.com/{FullRepositoryId}.git", f"https://github.com/me/app/commit/{COMMIT}"),
        ("git@github.com:{FullRepositoryId}.git", f"https://github.com/me/app/commit/{COMMIT}"),
        ("ssh://git@gitlab.com:22/{FullRepositoryId}", f"https://gitlab.com/me/app/-/commit/{COMMIT}"),
        (
            "https://gitlab.example.com/{FullRepositoryId}",
            f"https://gitlab.example.com/me/app/-/commit/{COMMIT}",
        ),
        ("https://x@bitbucket.org/{FullRepositoryId}", f"https://bitbucket.org/me/app/commits/{COMMIT}"),
        (
            "https://git-codecommit.eu-west-1.amazonaws.com/v1/repos/{RepositoryName}",
            "https://eu-west-1.console.aws.amazon.com/codesuite/codecommit/repositories/app/commit/"
            f"{COMMIT}?region=eu-west-1",
        ),
        ("https://git.example.com/{FullRepositoryId}", None),
        ("/srv/github/{Repo}", None),
    ],
)
def test_knows_the_page_of_a_commit(template, page):
    assert GitConnection(url_template=template).commit_url("me/app", COMMIT) == page


def test_the_page_of_a_commit_can_be_given():
    connection = GitConnection(
        url_template="/srv/{Repo}", commit_url_template="http://cgit/{Repo}?id={CommitId}"
    )

    assert connection.commit_url("me/app", COMMIT) == f"http://cgit/app?id={COMMIT}"
    with pytest.raises(ValidationError, match="must start with https"):
        GitConnection(url_template="/srv/{Repo}", commit_url_template="javascript:{CommitId}")


@pytest.mark.parametrize(
    ("url", "username"),
    [
        ("https://github.com/x", "x-access-token"),
        ("https://gitlab.com/x", "oauth2"),
        ("https://bitbucket.org/x", "x-token-auth"),
        ("https://git.example.com/x", "x-access-token"),
    ],
)
def test_the_user_name_is_what_the_host_expects(url, username):
    assert default_username(url) == username
