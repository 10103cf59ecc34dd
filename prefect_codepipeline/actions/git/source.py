"""The common part of the three git source actions: find the connection, pin the commit, create the artifact."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import SecretStr

from prefect_codepipeline.actions.git.mirror import Commit, Mirror, clone, pin, read_commit, with_mirror
from prefect_codepipeline.actions.git.process import Access
from prefect_codepipeline.actions.git.tree import Export, export_commit
from prefect_codepipeline.actions.registry import ActionContext, ActionResult
from prefect_codepipeline.actions.work import OutputTree, required
from prefect_codepipeline.blocks.git_connection import GitConnection, check_url, host_and_path
from prefect_codepipeline.errors import ActionFailed, MissingBlock
from prefect_codepipeline.model.record.artifacts import ArtifactFormat, SourceRevision
from prefect_codepipeline.prefect_api.block_documents import fields_by_name, find_block, missing_block

CLONE_REFERENCE_FILE = "codebuild-clone-ref.json"
MAX_MESSAGE_BYTES = 100 * 1024
SUMMARY_LENGTH = 2048
_GITHUB = "https://github.com/{FullRepositoryId}.git"


@dataclass(frozen=True)
class GitSource:
    """The repository and branch of a source action; `repository` is `owner/name` or only a name."""

    connection: GitConnection
    repository: str
    branch: str
    format: ArtifactFormat = "CODE_ZIP"


def find_connection(value: str) -> GitConnection:
    """The connection with that ConnectionArn or, if `value` is not an ARN, with that block name.

    Raises:
        MissingBlock: there is none; the text names the command that creates it.
        ActionFailed: with code `ConfigurationError`, several blocks have the ARN, or the block is malformed.
    """
    if not value.startswith("arn:"):
        return find_named_connection(value)
    names = sorted(_names_of_connections_with(value))
    if not names:
        raise MissingBlock(
            f"no GitConnection block has the ConnectionArn {value!r}, and the ARN does not say which host it is for; "
            f"create the block with: {_command('github', _GITHUB, value)}"
        )
    if len(names) > 1:
        raise ActionFailed(
            f"GitConnection blocks {', '.join(map(repr, names))} all have the ConnectionArn {value!r}; "
            f"delete all but one with: prefect block delete git-connection/{names[-1]}",
            code="ConfigurationError",
        )
    return find_named_connection(names[0])


def find_named_connection(*names: str, url: str = _GITHUB) -> GitConnection:
    """The first of these blocks that exists.

    Args:
        names: of GitConnection blocks.
        url: the URL template that the message suggests for a new block.

    Raises:
        MissingBlock: there is none; the text names the command that creates the first.
        ActionFailed: with code `ConfigurationError`, the block is malformed.
    """
    command = _command(names[0], url)
    connection = required(lambda: find_block(GitConnection, *names, command=command))
    if connection is None:
        raise missing_block(GitConnection, *names, command=command)
    return connection


def read_source(
    source: GitSource, context: ActionContext, variables: Callable[[Commit], Mapping[str, str]]
) -> ActionResult:
    """Pin the commit and create its artifact.

    Args:
        source: the repository and the branch.
        context: of the action; its source revision override takes precedence over the branch.
        variables: the action type's output variables.

    Raises:
        ActionFailed: with code `ConfigurationError`, `PermissionError`, `RevisionUnavailable`, `Timeout` or
            `JobFailed`.
        ActionAbandoned: the execution was cancelled.
    """
    access = access_to(source)
    _warn_of_plain_http(access, context)
    context.report_progress(f"Fetching {access.url}")
    commit, tree = with_mirror(access, context, lambda mirror: _pin_and_write(mirror, source, context))
    context.logger.info("Commit %s of %s: %s", commit.id, access.url, commit.summary)
    return ActionResult(
        summary=commit.summary[:SUMMARY_LENGTH],
        output_artifacts={context.action.output_artifacts[0].name: tree},
        output_variables=variables(commit),
        external_execution_id=commit.id,
        external_execution_url=commit_url(source, commit),
        source_revision=SourceRevision(
            revision_id=commit.id,
            revision_summary=commit.summary[:SUMMARY_LENGTH],
            revision_url=commit_url(source, commit),
            author=commit.author,
            author_email=commit.author_email or None,
            created=commit.authored,
        ),
    )


def commit_url(source: GitSource, commit: Commit) -> str | None:
    """The web page of the commit, or None if it is not known."""
    return source.connection.commit_url(source.repository, commit.id)


def clone_reference(reference: Path, destination: Path, context: ActionContext) -> Access:
    """Clone the repository that a CODEBUILD_CLONE_REF artifact refers to, at its commit; the repository's access.

    Args:
        reference: the directory of the artifact.
        destination: of the clone; what is there is deleted.
        context: of the action that builds.

    Raises:
        ActionFailed: with code `ConfigurationError`, `PermissionError`, `RevisionUnavailable`, `Timeout` or
            `JobFailed`.
        ActionAbandoned: the execution was cancelled.
    """
    try:
        known = json.loads((reference / CLONE_REFERENCE_FILE).read_text())
        url, repository = str(known["cloneUrl"]), str(known["fullRepositoryId"])
        branch, commit = str(known["branch"]), str(known["commitId"])
        check_url(url)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ActionFailed(
            f"an input artifact has no valid reference for a full clone in {CLONE_REFERENCE_FILE}: {error}; run the "
            "source action again",
            code="ConfigurationError",
        ) from None
    access = Access.to(_connection_of(url, repository), url)
    context.report_progress(f"Cloning {access.url}")
    with_mirror(access, context, lambda mirror: _clone(mirror, branch, commit, destination))
    return access


def _clone(mirror: Mirror, branch: str, commit: str, destination: Path) -> None:
    shutil.rmtree(destination, ignore_errors=True)
    clone(mirror, pin(mirror, branch, commit), destination)


def _connection_of(url: str, repository: str) -> GitConnection:
    """The connection whose template gives that URL, or one without credentials if there is none."""
    for name, data in fields_by_name(GitConnection).items():
        with suppress(ValueError, LookupError):  # pydantic's ValidationError is a ValueError
            if GitConnection(url_template=data["url_template"]).repository_url(repository) == url:
                return find_named_connection(name)
    return GitConnection(url_template=url)


def commit_variables(commit: Commit) -> dict[str, str]:
    """The output variables of all git sources; the message is cut at 100 KiB."""
    message = commit.message.encode()[:MAX_MESSAGE_BYTES].decode(errors="ignore")
    return {"CommitId": commit.id, "CommitMessage": message, "AuthorDate": as_date(commit.authored)}


def as_date(date: datetime | None) -> str:
    """The date as AWS writes it: `2019-10-29T03:32:21Z`; empty if the commit has no valid date."""
    return date.strftime("%Y-%m-%dT%H:%M:%SZ") if date else ""


def with_token(connection: GitConnection, token: SecretStr) -> GitConnection:
    """The connection with another token."""
    return connection.model_copy(update={"token": token})


def access_to(source: GitSource) -> Access:
    """The repository of a source action with its credentials. Raises `ActionFailed` for an invalid name."""
    try:
        return Access.to(source.connection, source.connection.repository_url(source.repository))
    except ValueError as error:
        raise ActionFailed(
            f"repository {source.repository!r} cannot be used: {error}; correct the source action or its connection",
            code="ConfigurationError",
        ) from None


def _warn_of_plain_http(access: Access, context: ActionContext) -> None:
    host = host_and_path(access.url)[0]
    is_local = re.fullmatch(r"(localhost|127\.[\d.]+|\[::1\])(:\d+)?", host)
    if access.token and access.url.startswith("http://") and not is_local:
        context.logger.warning("The token for %s is sent unencrypted over http; use https", host)


def _pin_and_write(mirror: Mirror, source: GitSource, context: ActionContext) -> tuple[Commit, OutputTree]:
    commit = read_commit(mirror, pin(mirror, source.branch, context.source_revision_override))
    directory = context.scratch / "source"
    # The second attempt, with a recreated mirror, needs an empty directory too.
    _empty(directory)
    if source.format == "CODEBUILD_CLONE_REF":
        _write_reference(directory, source, mirror.access.url, commit, context)
        return commit, OutputTree(directory, [CLONE_REFERENCE_FILE], source.format)
    export = export_commit(mirror, commit.id, directory, context.scratch / "index")
    _warn_of_missing_content(export, context)
    return commit, OutputTree(directory)


def _empty(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()


def _write_reference(
    directory: Path, source: GitSource, url: str, commit: Commit, context: ActionContext
) -> None:
    reference = {
        "provider": context.action.action_type_id.provider,
        "fullRepositoryId": source.repository,
        "branch": source.branch,
        "commitId": commit.id,
        "cloneUrl": url,
    }
    (directory / CLONE_REFERENCE_FILE).write_text(json.dumps(reference, indent=2) + "\n")


def _warn_of_missing_content(export: Export, context: ActionContext) -> None:
    if export.submodules:
        context.logger.warning(
            "Submodules are empty folders in the artifact, as in AWS: %s", _some(export.submodules)
        )
    if export.lfs_pointers:
        context.logger.warning(
            "Git LFS files are only pointers in the artifact, their content is not fetched: %s",
            _some(export.lfs_pointers),
        )


def _some(paths: tuple[str, ...]) -> str:
    rest = f" and {len(paths) - 5} more" if len(paths) > 5 else ""
    return ", ".join(paths[:5]) + rest


def _names_of_connections_with(arn: str) -> list[str]:
    fields = fields_by_name(GitConnection)
    return [name for name, data in fields.items() if data.get("connection_arn") == arn]


def _command(name: str, url: str, arn: str | None = None) -> str:
    options = ["--url", shlex.quote(url), *(["--arn", shlex.quote(arn)] if arn else [])]
    return " ".join(["codepipeline connection add", shlex.quote(name), *options])
