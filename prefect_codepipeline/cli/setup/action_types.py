"""`codepipeline action-type`: the action types that job workers of one's own serve."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

from cyclopts import Parameter

from prefect_codepipeline.cli.output import answer, print_json, print_line, print_table
from prefect_codepipeline.cli.parameters import AsJson
from prefect_codepipeline.cli.session import connect
from prefect_codepipeline.errors import CodePipelineError, MissingBlock
from prefect_codepipeline.model.problem import nearest

if TYPE_CHECKING:
    from prefect_codepipeline.model.definition.declaration import ActionTypeId
    from prefect_codepipeline.model.definition.own_types import CustomActionType
    from prefect_codepipeline.model.stored.action_type import StoredActionType

TypeName = Annotated[
    str, Parameter(help="Category, owner, provider and version, such as Deploy/Custom/Acme/1.")
]


def add_action_type(
    file: Path,
    *,
    third_party: Annotated[bool, Parameter(negative=())] = False,
    served_by: str | None = None,
    json: AsJson = False,
) -> int:
    """Add a custom action type, which your job workers serve. A version never changes.

    Parameters
    ----------
    file:
        Input of `aws codepipeline create-custom-action-type --cli-input-json`, in JSON or YAML.
    third_party:
        Add a type of owner ThirdParty, such as those of partners of AWS. Prints the client id and the client token of
        its workers; the token is not shown again. The file may also be an output of `aws codepipeline get-action-type`.
    served_by:
        With --third-party: the custom type whose workers serve this one too, such as Test/Custom/Checker/1.
    """
    given = _read(file)
    connect()
    from prefect_codepipeline.engine.operations.action_types import create_type
    from prefect_codepipeline.engine.operations.tagging import check_tags, put_tags
    from prefect_codepipeline.model.definition.own_types import MOST_ARTIFACTS, MOST_OF_PUBLISHED, check_type
    from prefect_codepipeline.model.wire.arns import Account
    from prefect_codepipeline.model.wire.tag_lists import tags_in

    if served_by and (not third_party or _id(served_by).owner != "Custom"):
        raise CodePipelineError(
            f"--served-by {served_by}: needs --third-party, and a custom type such as Test/Custom/Checker/1"
        )
    tags = tags_in(given.pop("tags", None) or [])
    wanted = _third_party_type(file, given) if third_party else _custom_type(file, given)
    wanted = wanted.model_copy(update={"served_by": served_by})
    arn = Account().action_type(wanted.arn_kind)
    check_type(_parsed(file, given), MOST_OF_PUBLISHED if third_party else MOST_ARTIFACTS)
    check_tags(arn, tags)
    created = create_type(wanted)
    put_tags(arn, tags)
    is_new = created is wanted
    lines = [f"action type {created.id} {'added' if is_new else 'exists'}"]
    value: dict[str, Any] = {**created.to_wire(), "clientId": created.client_id, "created": is_new}
    if third_party and is_new and wanted.client_token:
        value["clientToken"] = wanted.client_token.get_secret_value()
        lines += [
            f"client id of its workers: {wanted.client_id}",
            f"client token, which is not shown again: {value['clientToken']}",
        ]
    answer(json, value, *lines)
    return 0


def list_action_types(*, json: AsJson = False) -> int:
    """List the action types that job workers serve."""
    connect()
    from prefect_codepipeline.engine.jobs.action_types import list_types

    found = list_types()
    if json:
        print_json({"actionTypes": [each.to_wire() for each in found]})
        return 0
    if not found:
        print_line("there are no action types of your own; add one with: codepipeline action-type add FILE")
        return 0
    rows = [[str(each.id), " ".join(prop.name for prop in each.properties)] for each in found]
    print_table(["Type", "Configuration"], rows)
    return 0


def show_action_type(name: TypeName, *, json: AsJson = False) -> int:
    """Show an action type: its configuration, its artifacts and its URLs."""
    connect()
    from prefect_codepipeline.engine.jobs.action_types import find_type

    found = find_type(_id(name))
    if found is None:
        raise _missing(name)
    properties = [
        f"  {each.name}: {', '.join(_words(each.model_dump()))}"
        + (f"; {each.description}" if each.description else "")
        for each in found.properties
    ]
    counts = [
        f"  {side} artifacts: {each['minimumCount']} to {each['maximumCount']}"
        for side, each in (("input", found.input_artifact_details), ("output", found.output_artifact_details))
    ]
    urls = [f"  {key}: {url}" for key, url in found.settings.items()]
    client_line = [f"  client id of its workers: {found.client_id}"] if found.client_id else []
    wire = {**found.to_wire(), "clientId": found.client_id}
    answer(json, wire, str(found.id), *properties, *counts, *urls, *client_line)
    return 0


def remove_action_type(name: TypeName, *, json: AsJson = False) -> int:
    """Remove an action type. Its version can only be added again with the same definition."""
    connect()
    from prefect_codepipeline.engine.operations.action_types import delete_type

    if not delete_type(_id(name)):
        raise _missing(name)
    answer(json, {"name": name, "removed": True}, f"action type {name} removed")
    return 0


def _read(file: Path) -> dict[str, Any]:
    from prefect_codepipeline.deployments.files.definition import read_file

    content = read_file(file).content
    if not isinstance(content, dict):
        raise CodePipelineError(
            f"{file}: expected a mapping as in `create-custom-action-type --cli-input-json`"
        )
    inner = content.get("actionType", content)
    return dict(inner) if isinstance(inner, dict) else content


def _parsed(file: Path, given: dict[str, Any]) -> CustomActionType:
    from pydantic import ValidationError

    from prefect_codepipeline.model.definition.own_types import CustomActionType
    from prefect_codepipeline.model.definition.published_types import type_in
    from prefect_codepipeline.prefect_api.block_documents import field_problems

    try:
        return type_in(given) if "executor" in given else CustomActionType.model_validate(given)
    except ValidationError as error:
        raise CodePipelineError(f"{file}: {field_problems(error)}") from None
    except (KeyError, TypeError) as error:
        raise CodePipelineError(
            f"{file}: this is not an output of get-action-type: {error} is missing or wrong"
        ) from None


def _custom_type(file: Path, given: dict[str, Any]) -> StoredActionType:
    from prefect_codepipeline.model.stored.action_type import StoredActionType

    if "executor" in given:
        raise CodePipelineError(f"{file}: this is a published action type; add it with --third-party")
    return StoredActionType.of(_parsed(file, given))


def _third_party_type(file: Path, given: dict[str, Any]) -> StoredActionType:
    from prefect_codepipeline.model.definition.published_types import declaration_of
    from prefect_codepipeline.model.stored.action_type import StoredActionType

    kind = _parsed(file, given)
    plain = StoredActionType.of(kind, "ThirdParty")
    declaration = (
        {**given, "id": plain.id.to_wire()} if "executor" in given else declaration_of(plain.id, kind)
    )
    return StoredActionType.of(
        kind,
        "ThirdParty",
        declaration=declaration,
        client_id=str(uuid4()),
        client_token=secrets.token_urlsafe(32),
    )


def _words(each: dict[str, Any]) -> list[str]:
    marks = [word for word in ("key", "secret", "queryable") if each[word]]
    return ["required" if each["required"] else "optional", *marks, *([each["type"]] if each["type"] else [])]


def _id(name: str) -> ActionTypeId:
    from pydantic import ValidationError

    from prefect_codepipeline.model.definition.declaration import ActionTypeId

    parts = dict(zip(("category", "owner", "provider", "version"), name.split("/"), strict=False))
    try:
        return ActionTypeId.model_validate(parts)
    except ValidationError:
        raise _missing(name) from None


def _missing(name: str) -> MissingBlock:
    from prefect_codepipeline.engine.jobs.action_types import list_types

    hint = nearest(name, [str(each.id) for each in list_types()]) or "see: codepipeline action-type list"
    return MissingBlock(f"action type {name!r} does not exist; {hint}")
