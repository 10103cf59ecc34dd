"""A block like prefect-aws's AwsCredentials: its slug, its fields, and what it hides. prefect-aws is not installed."""

from __future__ import annotations

from prefect.blocks.core import Block
from pydantic import BaseModel, SecretStr


class ClientParameters(BaseModel):
    use_ssl: bool = True
    verify: bool | None = None
    endpoint_url: str | None = None


class AwsCredentials(Block):
    _block_type_name = "AWS Credentials"
    aws_access_key_id: str | None = None
    aws_secret_access_key: SecretStr | None = None
    region_name: str | None = None
    aws_client_parameters: ClientParameters = ClientParameters()


def save_credentials(name: str, key: str, url: str, region: str) -> None:
    """Save such a block, for services at a URL."""
    AwsCredentials(
        aws_access_key_id=key,
        aws_secret_access_key="planted-secret",
        region_name=region,
        aws_client_parameters=ClientParameters(endpoint_url=url),
    ).save(name, overwrite=True)
