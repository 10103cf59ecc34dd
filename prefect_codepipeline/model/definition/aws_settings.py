"""The AWS account, region and endpoint of the actions that use AWS."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Url = Annotated[str, Field(pattern=r"^https?://[^\s]+$")]
# A bucket and a prefix.
Location = Annotated[str, Field(pattern=r"^s3://[^/\s]+(/.*)?$")]
_BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^\x00-\x1f]*)?")


def _in_s3(value: str) -> str:
    if not _BUCKET.fullmatch(value):
        raise ValueError(f"{value!r} is not an S3 location; write s3://bucket or s3://bucket/prefix")
    return value


# A bucket with a name that S3 allows, and a prefix.
BucketLocation = Annotated[str, AfterValidator(_in_s3)]
Region = Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]


class AwsSettings(BaseModel):
    """Which account an action uses, and how its services are reached. Empty fields: what boto3 finds on the worker."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    profile: str | None = Field(None, min_length=1, description="Name of a profile in the worker's ~/.aws.")
    credentials: str | None = Field(
        None, min_length=1, description="Name of a prefect-aws AwsCredentials block, in place of a profile."
    )
    region: Region | None = Field(
        None,
        description="Region of actions that name none; empty: that of the block, the profile or the worker.",
    )
    endpoint_url: Url | None = Field(
        None, description="URL of all services, such as MinIO's; empty: AWS's own."
    )
    endpoint_urls: dict[str, Url] | None = Field(
        None, description="URLs of single services by boto3's name, such as 's3'; they precede endpoint_url."
    )
    assume_action_role: bool | None = Field(
        None, description="True: assume the roleArn of an action that has one; empty: false."
    )
    location: Location | None = Field(
        None,
        description="'s3://bucket/prefix' through which artifacts go where a service reads them from S3.",
    )
    locations: dict[Region, Location] | None = Field(
        None,
        description="The locations of regions: 'eu-west-1': 's3://bucket/prefix'; they precede location.",
    )

    buckets: dict[str, str] | None = Field(
        None,
        description="Where S3 deployments to a bucket go in place of AWS: 'my-site': '/srv/www', or a URL of fsspec such as "
        "'sftp://host/www' or 'gs://bucket'.",
    )

    sbom_command: str | None = Field(
        None,
        min_length=1,
        description="Shell command that prints the bill of materials in CycloneDX which Inspector scans, in place of "
        "inspector-sbomgen.",
    )

    registry: Url | None = Field(
        None, description="URL of a registry of images that ECR sources read in place of ECR."
    )
    registry_secret: str | None = Field(
        None, min_length=1, description="Name of a Secret block with 'user:password' for the registry."
    )

    clusters: dict[str, str] | None = Field(
        None,
        description="Names of Secret blocks with the kubeconfig of clusters, by the ClusterName of EKS actions; other "
        "clusters are those of EKS.",
    )

    @model_validator(mode="after")
    def _names_one_account(self) -> AwsSettings:
        if self.profile and self.credentials:
            raise ValueError("set profile or credentials, not both")
        return self

    def changed_by(self, override: AwsSettings) -> AwsSettings:
        """These settings, with those that an override sets in place of their own; entries of mappings are merged."""
        changes = override.model_dump(exclude_none=True)
        for name in ("endpoint_urls", "locations", "buckets", "clusters"):
            if name in changes:
                changes[name] = {**(getattr(self, name) or {}), **changes[name]}
        if changes.keys() & {"profile", "credentials"}:
            changes = {"profile": None, "credentials": None, **changes}
        return self.model_copy(update=changes)

    def location_in(self, region: str | None) -> str | None:
        """The location of artifacts for services of a region."""
        return (self.locations or {}).get(region or "", self.location)
