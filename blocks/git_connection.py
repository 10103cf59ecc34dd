"""The URL and credentials of git repositories: CodePipeline's connections, as a Prefect block."""

import re
from typing import Any, ClassVar, Literal
from urllib.parse import quote, urlsplit

from prefect.blocks.core import Block
from pydantic import ConfigDict, Field, HttpUrl, SecretStr, field_validator

PLACEHOLDERS = ("Owner", "Repo", "FullRepositoryId", "RepositoryName")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SCP_LIKE = re.compile(r"(?:[A-Za-z0-9_][\w.+-]*@)?[A-Za-z0-9][\w.-]*:(?!:)[^:]*")
_SCHEMES = ("https", "http", "ssh", "git", "file")
# The URL of a commit's web page at each host, by a part of the host's name.
_COMMIT_PAGES = {
    "github": "https://{host}/{path}/commit/{commit}",
    "gitlab": "https://{host}/{path}/-/commit/{commit}",
    "bitbucket": "https://{host}/{path}/commits/{commit}",
}
_CODECOMMIT_HOST = re.compile(r"git-codecommit\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?")
_CODECOMMIT_PAGE = (
    "https://{region}.console.aws.amazon.com/codesuite/codecommit/repositories/{name}/commit/{commit}"
    "?region={region}"
)


class GitConnection(Block):
    """How to access the git repositories of source actions.

    A `CodeStarSourceConnection` action uses the block whose `connection_arn` is its ConnectionArn, or the block
    of that name if the value is not an ARN. A `GitHub` action uses the block named `github`, a `CodeCommit` action
    the one named `codecommit`; both fall back to `default`.

    git runs without the worker's own git configuration: no credential helper, `insteadOf` or `.netrc` is used,
    so a private repository needs a token or a key here. Without `ssh_key`, ssh uses the keys, agent and
    configuration of the worker's user.

    Example:
        ```python
        from prefect_codepipeline.blocks.git_connection import GitConnection

        connection = GitConnection.load("BLOCK_NAME")
        ```
    """

    # A refused template may contain a password.
    model_config: ClassVar[ConfigDict] = ConfigDict(hide_input_in_errors=True)

    _block_type_name: ClassVar[str] = "Git Connection"
    _block_type_slug: ClassVar[str] = "git-connection"
    _description: ClassVar[str] = "The URL of git repositories, and the token or key to access them."
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl(
        "https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference-CodestarConnectionSource.html"
    )

    url_template: str = Field(
        description=(
            "URL of a repository, such as 'https://github.com/{FullRepositoryId}.git' or the absolute path of a "
            "local one; {Owner}, {Repo}, {FullRepositoryId} and {RepositoryName} are replaced."
        )
    )
    token: SecretStr | None = Field(
        None, description="Access token or password, for https; empty for public repositories."
    )
    username: str | None = Field(
        None, description="User name for the token; if empty, the name that the host expects for tokens."
    )
    ssh_key: SecretStr | None = Field(
        None, description="Private key without passphrase, for ssh; the worker's own keys if empty."
    )
    known_hosts: str | None = Field(
        None,
        description="Host keys as ssh-keyscan prints them, for ssh; if empty, a host is trusted at the first connection.",
    )
    connection_arn: str | None = Field(
        None, description="The ConnectionArn for which CodeStarSourceConnection actions use this connection."
    )
    commit_url_template: str | None = Field(
        None,
        description=(
            "URL of a commit's web page, with {CommitId} and the placeholders of the URL template; not needed for "
            "GitHub, GitLab, Bitbucket and CodeCommit."
        ),
    )

    host_kind: Literal["github", "gitlab", "bitbucket", "gitea"] | None = Field(
        None,
        description=(
            "The kind of the git host. If empty, it is derived from the host's name, which may not be possible for "
            "self-hosted servers."
        ),
    )
    webhook_secret: SecretStr | None = Field(
        None,
        description=(
            "The secret of the host's webhook, which sends pushes and pull requests. If empty, repositories are polled "
            "each minute."
        ),
    )

    commit_statuses: bool = Field(
        True,
        description="Whether to report the status of pipelines on commits at the host; the token must allow it.",
    )
    api_url: str | None = Field(
        None,
        description=(
            "URL of the host's API, such as 'https://git.example.com/api/v3'; derived from the URL template if empty."
        ),
    )

    @field_validator("api_url")
    @classmethod
    def _is_an_api(cls, value: str | None) -> str | None:
        return None if value is None else _check_api_url(value)

    @field_validator("webhook_secret")
    @classmethod
    def _is_long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < 16:
            raise ValueError("a webhook's secret must have at least 16 characters")
        return value

    @field_validator("url_template")
    @classmethod
    def _is_a_safe_template(cls, value: str) -> str:
        _check_placeholders(value, PLACEHOLDERS)
        check_url(_PLACEHOLDER.sub("x", value))
        return value

    @field_validator("commit_url_template")
    @classmethod
    def _is_a_web_page(cls, value: str | None) -> str | None:
        if value is not None:
            _check_placeholders(value, (*PLACEHOLDERS, "CommitId"))
            if urlsplit(value).scheme not in ("https", "http"):
                raise ValueError("the URL of a commit's page must start with https:// or http://")
        return value

    def repository_url(self, repository: str) -> str:
        """The URL or path of a repository.

        Args:
            repository: `owner/name`; nested groups and a name without an owner are possible.

        Raises:
            ValueError: the name is not a valid repository name, or lacks the owner that the template requires.
        """
        values = _values(repository)
        if "://" in self.url_template:
            values = {key: quote(value, safe="/") for key, value in values.items()}
        return check_url(_fill(self.url_template, values))

    def commit_url(self, repository: str, commit: str) -> str | None:
        """The URL of a commit's web page, or None for a local repository or an unknown host."""
        if self.commit_url_template:
            values = {key: quote(value, safe="/") for key, value in _values(repository).items()}
            return _fill(self.commit_url_template, {**values, "CommitId": commit})
        return _commit_page(self.repository_url(repository), commit)


def kind_of_host(connection: GitConnection) -> Literal["github", "gitlab", "bitbucket", "gitea"] | None:
    """The kind of the connection's host, or None if it cannot be derived from the host's name."""
    if connection.host_kind:
        return connection.host_kind
    host = host_and_path(_PLACEHOLDER.sub("x", connection.url_template))[0].casefold()
    if "forgejo" in host or "codeberg.org" in host:
        return "gitea"
    kinds: tuple[Literal["github", "gitlab", "bitbucket", "gitea"], ...] = (
        "github",
        "gitlab",
        "bitbucket",
        "gitea",
    )
    return next((kind for kind in kinds if kind in host), None)


# The path of each API on the git host itself.
_API_PATHS = {"github": "/api/v3", "gitlab": "/api/v4", "gitea": "/api/v1"}
_CLOUDS = {
    "github.com": "https://api.github.com",
    "ssh.github.com": "https://api.github.com",
    "bitbucket.org": "https://api.bitbucket.org/2.0",
    "altssh.bitbucket.org": "https://api.bitbucket.org/2.0",
    "altssh.gitlab.com": "https://gitlab.com/api/v4",
}


def api_address(connection: GitConnection) -> str | None:
    """The URL of the host's API, or None if it is unknown: for a local path, or Bitbucket Data Center."""
    if connection.api_url:
        return connection.api_url.rstrip("/")
    url = _PLACEHOLDER.sub("x", connection.url_template)
    host, kind = host_and_path(url)[0], kind_of_host(connection)
    # The port of ssh is not the port of the API.
    name = host if url.startswith(("https:", "http:")) else re.sub(r":\d+\Z", "", host)
    if cloud := _CLOUDS.get(name.casefold()):
        return cloud
    if not host or kind not in _API_PATHS:
        return None
    return f"{'http' if url.startswith('http:') else 'https'}://{name}{_API_PATHS[kind]}"


def name_on_host(connection: GitConnection, repository: str) -> str:
    """The repository's name in the host's API: `owner/name`.

    Raises:
        ValueError: the name is not a valid repository name, or lacks the owner that the template requires.
    """
    host, path = host_and_path(connection.repository_url(repository))
    has_full_name = any(f"{{{key}}}" in connection.url_template for key in ("FullRepositoryId", "Owner"))
    return repository if has_full_name or not host else path.strip("/").removesuffix(".git")


def check_url(url: str) -> str:
    """Return the URL unchanged if it is safe to pass to git.

    Raises:
        ValueError: it is a command line option, a transport that runs programs, a relative path, or contains a secret.
    """
    if not url or url.startswith("-") or _CONTROL.search(url):
        raise ValueError(f"{url!r} is not a repository URL")
    if url.startswith("/"):
        return url
    if "://" not in url:
        if _SCP_LIKE.fullmatch(url):
            return url
        raise ValueError(
            f"{url!r} is not a repository URL: use a URL (https, http, ssh, git, file), user@host:path, "
            "or an absolute path"
        )
    return _check_parts(url)


def host_and_path(url: str) -> tuple[str, str]:
    """Host (with its port) and path of a repository's URL; the host is empty for a local one."""
    if url.startswith("/"):
        return "", url
    if "://" not in url:
        host, _, path = url.partition(":")
        return host.rpartition("@")[2], path
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2], parts.path


def _check_api_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.hostname or "@" in parts.netloc:
        raise ValueError("the API's URL must start with https:// and must not contain a user name")
    if parts.query or parts.fragment:
        raise ValueError("the API's URL must not contain '?' or '#'")
    if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise ValueError("the API's URL must start with https://, else the token would be sent unencrypted")
    return url


def _check_parts(url: str) -> str:
    scheme = url.partition("://")[0]
    if scheme not in _SCHEMES:
        raise ValueError(f"git transport {scheme!r} is not allowed; use one of {', '.join(_SCHEMES)}")
    parts = urlsplit(url)
    if parts.password is not None:
        raise ValueError("the URL contains a password; use the connection's token field instead")
    if parts.query or parts.fragment:
        raise ValueError("a repository URL must not contain '?' or '#'; use the token field for a token")
    if scheme != "file" and not re.fullmatch(r"[A-Za-z0-9][\w.-]*|[0-9a-f:]+", parts.hostname or ""):
        raise ValueError(f"{url!r} has no valid host")
    if scheme == "file" and parts.netloc:
        raise ValueError(f"{url!r} is not a local path; write file:///path")
    return url


def _check_placeholders(template: str, allowed: tuple[str, ...]) -> None:
    for name in _PLACEHOLDER.findall(template):
        if name not in allowed:
            known = ", ".join(f"{{{known}}}" for known in allowed)
            raise ValueError(f"placeholder {{{name}}} is not known; use {known}")


def _values(repository: str) -> dict[str, str]:
    segments = repository.split("/")
    for segment in segments:
        # ssh expands `~` to a home folder, `:` and `@` change the host, `%` and `\` can hide dots.
        if (
            segment in ("", ".", "..", ".git")
            or segment[0] in "-~"
            or re.search(r"[\x00-\x1f\x7f:@%\\]", segment)
        ):
            raise ValueError(f"{repository!r} is not a repository name: {segment!r} is not allowed in it")
    owner, _, name = repository.rpartition("/")
    return {"Owner": owner, "Repo": name, "RepositoryName": name, "FullRepositoryId": repository}


def _fill(template: str, values: dict[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        if not values[match[1]]:
            raise ValueError(
                f"repository {values['FullRepositoryId']!r} has no owner, but {template!r} requires one"
            )
        return values[match[1]]

    return _PLACEHOLDER.sub(value, template)


def _commit_page(url: str, commit: str) -> str | None:
    host, path = host_and_path(url)
    path = path.strip("/").removesuffix(".git")
    host = re.sub(r":\d+\Z", "", host)
    if match := _CODECOMMIT_HOST.fullmatch(host):
        return _CODECOMMIT_PAGE.format(region=match[1], name=path.rpartition("/")[2], commit=commit)
    for part, page in _COMMIT_PAGES.items():
        if part in host.split("."):
            return page.format(host=host, path=path, commit=commit)
    return None


def default_username(url: str) -> str:
    """The user name for a token at the host of `url`."""
    names: dict[str, Any] = {"gitlab": "oauth2", "bitbucket": "x-token-auth"}
    host = host_and_path(url)[0]
    return str(next((name for part, name in names.items() if part in host), "x-access-token"))
