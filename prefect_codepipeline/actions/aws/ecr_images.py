"""Images in ECR: what a tag or a digest names, and errors that name image, repository and region.

https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_DescribeImages.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from prefect_codepipeline.actions.aws.client import error_code, translated
from prefect_codepipeline.errors import ActionFailed

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def find_image(ecr: Any, repository: str, wanted: str) -> Mapping[str, Any]:
    """The image with a tag or a digest, as ECR describes it.

    Raises:
        ActionFailed: with code `RevisionUnavailable`, there is no such image; `PermissionError`, `ConfigurationError` or
            `SystemUnavailable`.
    """
    from botocore.exceptions import ClientError

    image = {"imageDigest": wanted} if DIGEST.fullmatch(wanted) else {"imageTag": wanted}
    what, region = f"image {wanted!r} of ECR repository {repository!r}", ecr.meta.region_name
    with translated(f"looking up {what} in region {region}"):
        try:
            (found,) = ecr.describe_images(repositoryName=repository, imageIds=[image])["imageDetails"]
        except ClientError as error:
            if error_code(error) == "ImageNotFoundException":
                raise ActionFailed(
                    f"there is no {what} in region {region}; push it, or correct ImageTag",
                    code="RevisionUnavailable",
                ) from error
            if error_code(error) == "RepositoryNotFoundException":
                raise ActionFailed(
                    f"there is no ECR repository {repository!r} in region {region}; correct RepositoryName or the region",
                    code="ConfigurationError",
                ) from error
            raise
    return dict(found)
