"""The boto3 clients of an action: the account, region and endpoint that its settings name."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, Field, SecretStr

from prefect_codepipeline.actions.aws.client import SESSION_NAME, Account, translated
from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.actions.work import required
from prefect_codepipeline.model.definition.aws_settings import AwsSettings
from prefect_codepipeline.model.stored.content import BlockContent
from prefect_codepipeline.prefect_api.block_documents import load_block


class _ClientParameters(BaseModel):
    endpoint_url: str | None = None
    verify: bool | str | None = None
    verify_cert_path: str | None = None


class AwsCredentialsContent(BlockContent):
    """What is used of prefect-aws's AwsCredentials block, which can be read without prefect-aws."""

    block_name: ClassVar[str] = "AwsCredentials"
    block_slug: ClassVar[str] = "aws-credentials"

    aws_access_key_id: str | None = None
    aws_secret_access_key: SecretStr | None = None
    aws_session_token: SecretStr | None = None
    profile_name: str | None = None
    region_name: str | None = None
    aws_client_parameters: _ClientParameters = Field(default_factory=_ClientParameters)

    def account(self) -> Account:
        """The account that the block describes."""
        secret, token = self.aws_secret_access_key, self.aws_session_token
        keys = {
            "aws_access_key_id": self.aws_access_key_id,
            "aws_secret_access_key": secret.get_secret_value() if secret else None,
            "aws_session_token": token.get_secret_value() if token else None,
        }
        more = self.aws_client_parameters
        return Account(
            region=self.region_name,
            profile=self.profile_name,
            keys={name: value for name, value in keys.items() if value},
            endpoint_url=more.endpoint_url,
            verify=more.verify_cert_path or more.verify,
        )


def account_with(
    aws: AwsSettings, region: str | None = None, role: str | None = None, session_name: str = SESSION_NAME
) -> Account:
    """The account of settings; `region` and `role` precede what the settings say.

    Raises:
        ActionFailed: with code `ConfigurationError`, the AwsCredentials block is missing or cannot be used.
    """
    block = _credentials(aws.credentials).account() if aws.credentials else Account(profile=aws.profile)
    return Account(
        region=region or aws.region or block.region,
        profile=block.profile,
        keys=block.keys,
        roles=(role,) if role else (),
        session_name=session_name,
        endpoint_url=aws.endpoint_url or block.endpoint_url,
        endpoint_urls=aws.endpoint_urls or {},
        verify=block.verify,
    )


def account_of(context: ActionContext, region: str | None = None) -> Account:
    """The account of an action; `region` is by default the action's own. Raises as `account_with` does."""
    aws, action = context.settings.aws, context.action
    role = action.role_arn if aws.assume_action_role else None
    session_name = f"codepipeline-{context.action_execution_id}"[:64]
    return account_with(aws, region or action.region, role, session_name)


def client_of(
    context: ActionContext, service: str, region: str | None = None, attempts: int | None = None
) -> Any:
    """The client of an action for a service; `region` is by default the action's own.

    With `attempts` 0 it repeats no request: for one that has no token, and whose answer may have been lost.

    Raises:
        ActionFailed: with code `ConfigurationError`, boto3 is not installed, or the settings cannot be used.
    """
    with translated(f"connecting to {service} for action {context.action.name!r}"):
        return account_of(context, region).client(service, attempts)


def _credentials(name: str) -> AwsCredentialsContent:
    command = "prefect block create aws-credentials (of prefect-aws)"
    return required(lambda: load_block(AwsCredentialsContent, name, command=command))
