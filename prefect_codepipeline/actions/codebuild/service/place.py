"""The place in S3 for the input and output artifacts of a build in AWS.

https://docs.aws.amazon.com/codebuild/latest/APIReference/API_ProjectArtifacts.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from prefect_codepipeline.actions.aws.client import translated
from prefect_codepipeline.errors import ActionFailed


@dataclass(frozen=True)
class Place:
    """The place in S3 for the artifacts of one action execution; `prefix` ends with a slash."""

    bucket: str
    prefix: str

    def key(self, kind: str, name: str) -> str:
        """The key of an artifact's archive; `kind` is `in` or `out`."""
        return f"{self.prefix}{kind}/{name}.zip"


def clear(s3: Any, place: Place) -> None:
    """Remove the archives from S3; failures are ignored, and the bucket's lifecycle rules can remove the rest."""
    with suppress(ActionFailed), translated(f"clearing s3://{place.bucket}/{place.prefix}"):
        pages: Iterable[Mapping[str, Any]] = s3.get_paginator("list_objects_v2").paginate(
            Bucket=place.bucket, Prefix=place.prefix
        )
        for page in pages:
            keys = [{"Key": each["Key"]} for each in page.get("Contents", ())]
            if keys:
                s3.delete_objects(Bucket=place.bucket, Delete={"Objects": keys, "Quiet": True})
