"""Deploy/AWS/S3/1: the files of the input artifact, or all of them as one ZIP archive, as objects in S3.

https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference-S3Deploy.html
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timezone
from pathlib import Path
from typing import Literal

from pydantic import Field

from prefect_codepipeline.actions.artifacts.copying import Upload, copy_all, without_password
from prefect_codepipeline.actions.artifacts.zip_trees import zip_tree
from prefect_codepipeline.actions.aws.account import client_of
from prefect_codepipeline.actions.aws.s3_objects import check_bucket, check_key, object_url
from prefect_codepipeline.actions.aws.s3_uploads import Destination, upload_all
from prefect_codepipeline.actions.registry import (
    ActionConfiguration,
    ActionContext,
    ActionResult,
    Lookup,
    action_provider,
)
from prefect_codepipeline.errors import ActionFailed

CannedAcl = Literal[
    "private",
    "public-read",
    "public-read-write",
    "authenticated-read",
    "aws-exec-read",
    "bucket-owner-read",
    "bucket-owner-full-control",
    "log-delivery-write",
]
_DATETIME, _UUID = "{datetime}", "{uuid}"


class S3DeployConfiguration(ActionConfiguration):
    """The configuration of an action. With `Extract`, `ObjectKey` is a folder; without, the key of the ZIP archive."""

    bucket_name: str
    extract: Literal["true", "false"]
    object_key: str | None = None
    kms_key: str | None = Field(None, alias="KMSEncryptionKeyARN")
    canned_acl: CannedAcl | None = Field(None, alias="CannedACL")
    cache_control: str | None = None


def _named(configuration: S3DeployConfiguration, context: ActionContext) -> Iterator[Lookup]:
    bucket = configuration.bucket_name
    if bucket not in (context.settings.aws.buckets or {}):
        yield Lookup(f"bucket {bucket!r}", "s3", "head_bucket", {"Bucket": bucket})


@action_provider(
    category="Deploy", provider="S3", inputs=(1, 1), outputs=(0, 0), restartable=True, online=_named
)
def deploy_to_s3(configuration: S3DeployConfiguration, context: ActionContext) -> ActionResult:
    """Upload the files. Nothing is deleted. After a crash the same keys are written again."""
    check_bucket(configuration.bucket_name)
    key = _object_key(configuration, context)
    uploads = _uploads(configuration, key, context)
    for upload in uploads:
        check_key(upload.key)
    count = f"{len(uploads)} file{'' if len(uploads) == 1 else 's'}"
    if place := (context.settings.aws.buckets or {}).get(configuration.bucket_name):
        _warn_of_what_means_nothing(configuration, context)
        copy_all(place, uploads, context)
        where, url = f"{without_password(place).rstrip('/')}/{key}", None
    else:
        s3 = client_of(context, "s3")
        upload_all(s3, Destination(configuration.bucket_name, _headers(configuration)), uploads, context)
        where, url = f"s3://{configuration.bucket_name}/{key}", object_url(s3, configuration.bucket_name, key)
    return ActionResult(
        summary=f"{count} uploaded to {where}",
        external_execution_id=f"{configuration.bucket_name}/{key}",
        external_execution_url=url,
    )


def _warn_of_what_means_nothing(configuration: S3DeployConfiguration, context: ActionContext) -> None:
    given = {
        "CannedACL": configuration.canned_acl,
        "CacheControl": configuration.cache_control,
        "KMSEncryptionKeyARN": configuration.kms_key,
    }
    if names := [name for name, value in given.items() if value]:
        context.logger.warning("%s of the action has no effect outside of AWS", ", ".join(names))


def _object_key(configuration: S3DeployConfiguration, context: ActionContext) -> str:
    """The key or the folder, with the time and the id that this action execution keeps for its whole life."""
    key = configuration.object_key or ""
    if configuration.extract == "true":
        key = key.strip("/")
    elif not key:
        raise ActionFailed(
            "Extract is false and ObjectKey is empty; give the key of the archive", code="ConfigurationError"
        )
    if _DATETIME in key:
        key = key.replace(_DATETIME, _time(context))
    # Random, and the same for a later process.
    return key.replace(_UUID, context.action_execution_id)


def _time(context: ActionContext) -> str:
    if context.earlier and (kept := context.earlier.state.get("datetime")):
        return kept
    started = context.began
    text = started.astimezone(timezone.utc).strftime("%Y-%m-%d_%H-%M-%S")
    context.keep(datetime=text)
    return text


def _uploads(configuration: S3DeployConfiguration, key: str, context: ActionContext) -> list[Upload]:
    tree = context.input_artifacts[0].directory
    if configuration.extract == "false":
        archive = context.scratch / "artifact.zip"
        zip_tree(tree, archive)
        return [Upload(archive, key)]
    uploads = [Upload(path, f"{key}/{name}" if key else name) for path, name in _files(tree, context)]
    if not uploads:
        raise ActionFailed(f"input artifact {context.input_artifacts[0].name!r} has no files to upload")
    return uploads


def _files(tree: Path, context: ActionContext) -> Iterator[tuple[Path, str]]:
    """The files and their names in the tree; a link to a file is that file, because S3 has no links."""
    for folder, folders, names in os.walk(tree):
        folders.sort()
        for name in sorted([*names, *(each for each in folders if Path(folder, each).is_symlink())]):
            path = Path(folder, name)
            if path.is_file():
                yield path, path.relative_to(tree).as_posix()
            else:
                context.logger.warning(
                    "%s is a link to a folder or to nothing, and is not uploaded", path.relative_to(tree)
                )


def _headers(configuration: S3DeployConfiguration) -> dict[str, str]:
    encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": configuration.kms_key}
    given = {
        "ACL": configuration.canned_acl,
        "CacheControl": configuration.cache_control,
        **(encryption if configuration.kms_key else {}),
    }
    return {name: value for name, value in given.items() if value}
