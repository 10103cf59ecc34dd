"""`codepipeline key`: access keys of the AWS API."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from cyclopts import Parameter

from prefect_codepipeline.cli.output import answer, print_json, print_table
from prefect_codepipeline.cli.parameters import AsJson
from prefect_codepipeline.cli.session import connect
from prefect_codepipeline.errors import CodePipelineError, MissingBlock
from prefect_codepipeline.model.problem import nearest
from prefect_codepipeline.model.stored.api_key import StoredApiKey

Pipelines = Annotated[
    list[str] | None,
    Parameter(
        negative=(),
        help="The only pipelines it may see, by name or pattern such as 'shop-*'; may be repeated. All by default.",
    ),
]


def add_key(
    name: str,
    *,
    may: Literal["read", "approve", "operate", "work", "admin"],
    pipelines: Pipelines = None,
    json: AsJson = False,
) -> int:
    """Create an access key, as an ApiKey block. Prints its secret, which is not shown again.

    Parameters
    ----------
    name:
        Name of the key: small letters, digits and hyphens. AWS's answers show it as the user.
    may:
        What it may do: look, also answer approvals, also start, stop, retry and hold, do jobs only, or everything.
    """
    connect()
    from prefect_codepipeline.blocks.api_key import ApiKey
    from prefect_codepipeline.prefect_api.block_documents import create_block

    key = ApiKey.new(may, pipelines or ["*"])
    try:
        created = create_block(key, name)
    except ValueError as error:  # Prefect's, for the name
        raise CodePipelineError(f"key {name!r} was not created: {error}") from None
    if created is None:
        raise CodePipelineError(f"key {name!r} exists; remove it first with: codepipeline key remove {name}")
    secret = key.secret.get_secret_value()
    answer(
        json,
        {**_shown(name, key.model_dump(mode="json")), "secretAccessKey": secret},
        f"key {name!r} may {may}; its secret is not shown again",
        f"export AWS_ACCESS_KEY_ID={key.access_key_id}",
        f"export AWS_SECRET_ACCESS_KEY={secret}",
        *_place(),
    )
    return 0


def list_keys(*, json: AsJson = False) -> int:
    """List the access keys, without their secrets."""
    found = [_shown(name, data) for name, data in _read().items()]
    if json:
        print_json(found)
        return 0
    rows = [
        [each["name"], each["accessKeyId"], each["may"], " ".join(each["pipelines"]), each["created"] or ""]
        for each in found
    ]
    print_table(["Name", "Access key", "May", "Pipelines", "Created"], rows)
    return 0


def remove_key(name: str, *, json: AsJson = False) -> int:
    """Remove an access key. Gateways refuse it within five seconds.

    Parameters
    ----------
    name:
        Name of the key.
    """
    connect()
    from prefect_codepipeline.prefect_api.block_documents import delete_block

    if not delete_block(StoredApiKey, name):
        hint = nearest(name, _read()) or "see: codepipeline key list"
        raise MissingBlock(f"key {name!r} does not exist; {hint}")
    is_last = not _read()
    said = [
        "it was the last one: a gateway on a loopback address now serves the AWS API to anybody on its machine"
    ]
    answer(
        json,
        {"name": name, "removed": True, "isLast": is_last},
        f"key {name!r} removed",
        *(said if is_last else []),
    )
    return 0


def _read() -> dict[str, dict[str, Any]]:
    connect()
    from prefect_codepipeline.prefect_api.block_documents import fields_by_name

    return fields_by_name(StoredApiKey)


def _shown(name: str, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "accessKeyId": data["access_key_id"],
        "may": data["may"],
        "pipelines": data["pipelines"],
        "created": data.get("created"),
    }


def _place() -> list[str]:
    """Where the gateway is, for AWS's tools."""
    from prefect_codepipeline.engine.approvals.links import load_gateway
    from prefect_codepipeline.model.wire.arns import REGION

    gateway = load_gateway()
    region = (gateway.region if gateway else None) or REGION
    url = [f"export AWS_ENDPOINT_URL={gateway.url}"] if gateway and gateway.url else []
    return [*url, f"export AWS_REGION={region} AWS_DEFAULT_REGION={region}"]
