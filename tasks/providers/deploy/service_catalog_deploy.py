"""Deploy/AWS/ServiceCatalog/1: make a template a new version of a product.

https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference-ServiceCatalog.html
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_pascal

from prefect_codepipeline.actions.artifacts.input_files import read_input_file
from prefect_codepipeline.actions.aws.account import client_of
from prefect_codepipeline.actions.aws.client import error_code, translated
from prefect_codepipeline.actions.aws.console import console_url
from prefect_codepipeline.actions.aws.location import upload_bytes
from prefect_codepipeline.actions.aws.remote_work import Following, Look, Work, failed, follow, started
from prefect_codepipeline.actions.registry import (
    ActionConfiguration,
    ActionContext,
    ActionResult,
    action_provider,
)
from prefect_codepipeline.errors import ActionFailed, wrong_configuration

MOST_TEMPLATE_BYTES = 1_048_576
_MOST_JSON_BYTES = 1_048_576
_KEYS = ("template_file_path", "product_version_name", "product_type")


class ServiceCatalogConfiguration(ActionConfiguration):
    """The configuration of an action."""

    template_file_path: str | None = None
    product_version_name: str | None = None
    product_type: str | None = None
    product_id: str
    product_version_description: str | None = None
    configuration_file_path: str | None = None

    @model_validator(mode="after")
    def _has_keys_or_a_file(self) -> ServiceCatalogConfiguration:
        missing = [to_pascal(key) for key in _KEYS if not getattr(self, key)]
        if missing and not self.configuration_file_path:
            raise ValueError(f"{', '.join(missing)}: required without ConfigurationFilePath")
        return self


class _Properties(BaseModel):
    model_config = ConfigDict(alias_generator=to_pascal, extra="forbid")
    template_file_path: str = Field(min_length=1)


class _Version(BaseModel):
    """A version as the configuration file has it."""

    model_config = ConfigDict(alias_generator=to_pascal, extra="forbid")
    schema_version: str = "1.0"
    product_version_name: str = Field(min_length=1)
    product_version_description: str | None = None
    product_type: str = Field(min_length=1)
    properties: _Properties


@dataclass(frozen=True)
class _Product:
    """The product of an action."""

    id: str
    context: ActionContext
    catalog: Any

    @property
    def region(self) -> str:
        return str(self.catalog.meta.region_name)

    @property
    def what(self) -> str:
        """For messages."""
        return f"product {self.id!r} in {self.region}"

    def work(self, version_id: str) -> Work:
        arn = f"arn:{self.catalog.meta.partition}:catalog:{self.region}::product/{self.id}"
        return Work(
            version_id, console_url(arn, f"servicecatalog/home?region={{region}}#admin-products/{self.id}")
        )


@action_provider(
    category="Deploy", provider="ServiceCatalog", inputs=(1, 1), outputs=(0, 0), restartable=True
)
def deploy_version(configuration: ServiceCatalogConfiguration, context: ActionContext) -> ActionResult:
    """Make the version, and wait until it is available.

    The token is the action execution id: a request that is repeated after a crash makes no second version.
    """
    product = _Product(configuration.product_id, context, client_of(context, "servicecatalog"))
    work = started(context, "version", lambda: _start(product, configuration), lambda: None)
    what = f"version {work.id!r} of {product.what}"
    state = _follow(product, work, what)
    if state["Status"] != "AVAILABLE":
        raise failed(
            f"{what} could not be made: Service Catalog gives no reason; check the template, and whether the worker may "
            "read it in the location",
            work,
        )
    name = state.get("ProvisioningArtifactDetail", {}).get("Name")
    return ActionResult(
        f"made version {name!r} of {product.what}",
        external_execution_id=work.id,
        external_execution_url=work.url,
    )


def _start(product: _Product, configuration: ServiceCatalogConfiguration) -> Work:
    from botocore.exceptions import ClientError

    context = product.context
    version = _version(configuration, context)
    path = version.properties.template_file_path
    template = _read(context, path, "TemplateFilePath", MOST_TEMPLATE_BYTES)
    uploaded = upload_bytes(context, template, PurePosixPath(path).name, product.region)
    parameters = {
        "Name": version.product_version_name,
        "Description": version.product_version_description,
        "Info": {"LoadTemplateFromURL": uploaded.url},
        "Type": version.product_type,
    }
    with translated(f"making version {version.product_version_name!r} of {product.what}"):
        try:
            answer = product.catalog.create_provisioning_artifact(
                ProductId=product.id,
                Parameters={name: value for name, value in parameters.items() if value},
                IdempotencyToken=context.action_execution_id,
            )
        except ClientError as error:
            if error_code(error) == "ResourceNotFoundException":
                raise wrong_configuration(
                    f"there is no {product.what}; correct ProductId or the region"
                ) from error
            raise
    return product.work(answer["ProvisioningArtifactDetail"]["Id"])


def _version(configuration: ServiceCatalogConfiguration, context: ActionContext) -> _Version:
    """The version by the keys of the action, or by its configuration file."""
    path = configuration.configuration_file_path
    if not path:
        return _Version.model_validate(
            {
                "ProductVersionName": configuration.product_version_name,
                "ProductVersionDescription": configuration.product_version_description,
                "ProductType": configuration.product_type,
                "Properties": {"TemplateFilePath": configuration.template_file_path},
            }
        )
    content = _read(context, path, "ConfigurationFilePath", _MOST_JSON_BYTES)
    try:
        return _Version.model_validate(json.loads(content))
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"])) or "the file"
        raise wrong_configuration(f"ConfigurationFilePath {path!r}: {where}: {problem['msg']}") from None
    except ValueError as error:
        raise wrong_configuration(f"ConfigurationFilePath {path!r} is not JSON: {error}") from None


def _read(context: ActionContext, path: str, key: str, most_bytes: int) -> bytes:
    """A file of the action's input artifact; AWS's example has `/S3_template.json`."""
    trees = context.input_artifacts
    return read_input_file(trees, f"{trees[0].name}::{path.lstrip('/')}", key, most_bytes)


def _follow(product: _Product, work: Work, what: str) -> dict[str, Any]:
    """The version when it has been made."""
    from botocore.exceptions import ClientError

    state: dict[str, Any] = {}

    def look() -> Look:
        with translated(f"reading the state of {what}"):
            try:
                state.update(
                    product.catalog.describe_provisioning_artifact(
                        ProductId=product.id, ProvisioningArtifactId=work.id
                    )
                )
            except ClientError as error:
                if error_code(error) == "ResourceNotFoundException":
                    raise ActionFailed(f"{what} was deleted in the meantime, not by this action") from error
                raise
        return Look(state["Status"] != "CREATING", f"{what}: {state['Status']}")

    def stop() -> str:
        return f"Service Catalog cannot stop making {what}: delete the version if it is not wanted, at {work.url}"

    follow(Following(what, work, look, stop), product.context)
    return state
