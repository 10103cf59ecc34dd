"""Where git repositories lie and what opens them: CodePipeline's connections, as a Prefect block."""

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
# How each host spells the address of a commit, by a part of the host's name.
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
    """How to reach the git repositories that source actions name.

    A `CodeStarSourceConnection` action finds the block whose `connection_arn` is its ConnectionArn, or the block
    of that name when the value is no ARN. A `GitHub` action uses the block named `github`, a `CodeCommit` action
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

    # A template that was refused may hold a password.
    model_config: ClassVar[ConfigDict] = ConfigDict(hide_input_in_errors=True)

    _block_type_name: ClassVar[str] = "Git Connection"
    _block_type_slug: ClassVar[str] = "git-connection"
    _description: ClassVar[str] = "Where git repositories lie, and the token or key that opens them."
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl(
        "https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference-CodestarConnectionSource.html"
    )

    url_template: str = Field(
        description=(
            "Address of a repository, such as 'https://github.com/{FullRepositoryId}.git' or the absolute path of a "
            "local one; {Owner}, {Repo}, {FullRepositoryId} and {RepositoryName} are filled in."
        )
    )
    token: SecretStr | None = Field(
        None, description="Access token or password, for https; the repository is public when empty."
    )
    username: str | None = Field(
        None, description="User name that goes with the token; what the host expects for tokens when empty."
    )
    ssh_key: SecretStr | None = Field(
        None, description="Private key without passphrase, for ssh; the worker's own keys when empty."
    )
    known_hosts: str | None = Field(
        None,
        description="Lines of ssh-keyscan, for ssh; a host is trusted the first time it is seen when empty.",
    )
    connection_arn: str | None = Field(
        None, description="The ConnectionArn that CodeStarSourceConnection actions know this connection by."
    )
    commit_url_template: str | None = Field(
        None,
        description=(
            "Web page of a commit, with {CommitId} and the placeholders of the URL template; known for GitHub, "
            "GitLab, Bitbucket and CodeCommit when empty."
        ),
    )

    host_kind: Literal["github", "gitlab", "bitbucket", "gitea"] | None = Field(
        None,
        description=(
            "Whose API and webhooks the host speaks; told by the host's name when empty, which servers of one's own "
            "may not have in theirs."
        ),
    )
    webhook_secret: SecretStr | None = Field(
        None,
        description=(
            "The secret of the host's webhook, which then tells of pushes and pull requests; repositories are asked "
            "each minute when empty."
        ),
    )

    commit_statuses: bool = Field(
        True, description="Whether the host is told how pipelines fare with a commit; needs a token that may."
    )
    api_url: str | None = Field(
        None,
        description=(
            "Address of the host's API, such as 'https://git.example.com/api/v3'; told by the URL template when empty."
        ),
    )

    @field_validator("api_url")
    @classmethod
    def _is_an_api(cls, value: str | None) -> str | None:
        return None if value is None else _check_api_url(value)

    @field_validator("webhook_secret")
    @classmethod
    def _is_no_guess(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < 16:
            raise ValueError("a webhook's secret has 16 characters at least")
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
                raise ValueError("a commit's page begins with https:// or http://")
        return value

    def repository_url(self, repository: str) -> str:
        """The URL or path of a repository.

        Args:
            repository: `owner/name`; groups of groups and a bare name are possible.

        Raises:
            ValueError: the name leaves its place in the template, or lacks the owner that the template asks for.
        """
        values = _values(repository)
        if "://" in self.url_template:
            values = {key: quote(value, safe="/") for key, value in values.items()}
        return check_url(_fill(self.url_template, values))

    def commit_url(self, repository: str, commit: str) -> str | None:
        """The web page of a commit, None when none is known: a local repository, an unknown host."""
        if self.commit_url_template:
            values = {key: quote(value, safe="/") for key, value in _values(repository).items()}
            return _fill(self.commit_url_template, {**values, "CommitId": commit})
        return _commit_page(self.repository_url(repository), commit)


def kind_of_host(connection: GitConnection) -> Literal["github", "gitlab", "bitbucket", "gitea"] | None:
    """Whose API and webhooks the connection's host speaks, None when its name does not tell."""
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


# Below which path of its own host each API lies.
_API_PATHS = {"github": "/api/v3", "gitlab": "/api/v4", "gitea": "/api/v1"}
_CLOUDS = {
    "github.com": "https://api.github.com",
    "ssh.github.com": "https://api.github.com",
    "bitbucket.org": "https://api.bitbucket.org/2.0",
    "altssh.bitbucket.org": "https://api.bitbucket.org/2.0",
    "altssh.gitlab.com": "https://gitlab.com/api/v4",
}


def api_address(connection: GitConnection) -> str | None:
    """Where the API of the connection's host lies, None when nobody can know: a local path, Bitbucket Data Center."""
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
    """What the host's API calls a repository: `owner/name`.

    Raises:
        ValueError: the name leaves its place in the template, or lacks the owner that the template asks for.
    """
    host, path = host_and_path(connection.repository_url(repository))
    names_it_all = any(f"{{{key}}}" in connection.url_template for key in ("FullRepositoryId", "Owner"))
    return repository if names_it_all or not host else path.strip("/").removesuffix(".git")


def check_url(url: str) -> str:
    """The URL as it is, when git may be asked for it.

    Raises:
        ValueError: it is an option or a transport that runs programs, is relative, or holds a secret.
    """
    if not url or url.startswith("-") or _CONTROL.search(url):
        raise ValueError(f"{url!r} is no address of a repository")
    if url.startswith("/"):
        return url
    if "://" not in url:
        if _SCP_LIKE.fullmatch(url):
            return url
        raise ValueError(
            f"{url!r} is no address of a repository: give a URL (https, http, ssh, git, file), user@host:path, "
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
        raise ValueError("the API's address begins with https:// and holds no user name")
    if parts.query or parts.fragment:
        raise ValueError("the API's address has no '?' and no '#'")
    if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise ValueError("the token would travel unencrypted; the API's address begins with https://")
    return url


def _check_parts(url: str) -> str:
    scheme = url.partition("://")[0]
    if scheme not in _SCHEMES:
        raise ValueError(f"git transport {scheme!r} is not allowed; use one of {', '.join(_SCHEMES)}")
    parts = urlsplit(url)
    if parts.password is not None:
        raise ValueError("the URL holds a password; put it into the connection's token instead")
    if parts.query or parts.fragment:
        raise ValueError(
            "the URL of a repository has no '?' and no '#'; a token belongs into the token field"
        )
    if scheme != "file" and not re.fullmatch(r"[A-Za-z0-9][\w.-]*|[0-9a-f:]+", parts.hostname or ""):
        raise ValueError(f"{url!r} names no host")
    if scheme == "file" and parts.netloc:
        raise ValueError(f"{url!r} is no local path; write file:///path")
    return url


def _check_placeholders(template: str, allowed: tuple[str, ...]) -> None:
    for name in _PLACEHOLDER.findall(template):
        if name not in allowed:
            known = ", ".join(f"{{{known}}}" for known in allowed)
            raise ValueError(f"placeholder {{{name}}} is not known; there are {known}")


def _values(repository: str) -> dict[str, str]:
    segments = repository.split("/")
    for segment in segments:
        # `~` is somebody's home to ssh, `:` and `@` move the host, `%` and `\` hide dots.
        if (
            segment in ("", ".", "..", ".git")
            or segment[0] in "-~"
            or re.search(r"[\x00-\x1f\x7f:@%\\]", segment)
        ):
            raise ValueError(f"{repository!r} is no name of a repository: {segment!r} is not allowed in one")
    owner, _, name = repository.rpartition("/")
    return {"Owner": owner, "Repo": name, "RepositoryName": name, "FullRepositoryId": repository}


def _fill(template: str, values: dict[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        if not values[match[1]]:
            raise ValueError(
                f"repository {values['FullRepositoryId']!r} has no owner, but {template!r} asks for one"
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
    """The user name that goes with a token on the host of `url`."""
    names: dict[str, Any] = {"gitlab": "oauth2", "bitbucket": "x-token-auth"}
    host = host_and_path(url)[0]
    return str(next((name for part, name in names.items() if part in host), "x-access-token"))
