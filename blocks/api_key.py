"""An access key of the AWS API: who may sign requests, and for what."""

from typing import ClassVar

from prefect.blocks.core import Block
from pydantic import HttpUrl

from prefect_codepipeline.model.stored.api_key import StoredApiKey


class ApiKey(Block, StoredApiKey):
    """An access key, with which boto3, the aws command, Terraform and job workers sign requests to the gateway."""

    _block_type_name: ClassVar[str] = "CodePipeline API Key"
    _block_type_slug: ClassVar[str] = StoredApiKey.block_slug
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl(
        "https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_access-keys.html"
    )
    _description: ClassVar[str] = "Who may sign requests to the AWS API of the gateway, and for what."
