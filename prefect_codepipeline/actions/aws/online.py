"""Look up, read only, whether something is there in AWS."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from prefect_codepipeline.actions.aws.account import account_of
from prefect_codepipeline.actions.aws.client import error_code, is_denied, translated
from prefect_codepipeline.actions.lookups import Lookup
from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.errors import ActionFailed

Status = Literal["there", "missing", "not allowed", "not known"]
# Codes such as NoSuchBucket, StateMachineDoesNotExist, RepositoryNotFoundException; HEAD requests have only the status.
_MISSING = re.compile(r"NoSuch|NotFound|DoesNotExist|^404$")


@dataclass(frozen=True)
class Answer:
    """What AWS answered, from which region and account; `detail` says more."""

    status: Status
    region: str = ""
    account_id: str = ""
    detail: str = ""


def look_up(lookup: Lookup, context: ActionContext) -> Answer:
    """Look up one thing with the account of an action.

    Raises:
        ActionFailed: with code `ConfigurationError`, the settings of the account cannot be used.
    """
    connect = lookup.connect or account_of(context, lookup.region).client
    with translated(f"connecting to {lookup.service}"):
        client = connect(lookup.service)
    region = str(client.meta.region_name)
    try:
        own = _own_account(connect)
    except ActionFailed as error:
        return Answer("not known", region, detail=str(error))
    if lookup.account_id and lookup.account_id != own:
        return Answer("not known", region, own, f"it is in account {lookup.account_id}")
    return _ask(lookup, client, region, own)


def _own_account(connect: Any) -> str:
    """The number of the account, which needs no permission."""
    with translated("looking up the number of the account"):
        return str(connect("sts").get_caller_identity()["Account"])


def _ask(lookup: Lookup, client: Any, region: str, account_id: str) -> Answer:
    from botocore.exceptions import ClientError

    try:
        with translated(f"looking up {lookup.what}"):
            try:
                answer = getattr(client, lookup.operation)(**lookup.arguments)
            except ClientError as error:
                status = _status(error)
                if status is None:
                    raise
                return Answer(status, region, account_id, lookup.if_missing if status == "missing" else "")
    except ActionFailed as error:
        return Answer("not known", region, account_id, str(error))
    is_there = not lookup.found or bool(_search(lookup.found, answer))
    return Answer(
        "there" if is_there else "missing", region, account_id, "" if is_there else lookup.if_missing
    )


def _status(error: Any) -> Status | None:
    code = error_code(error)
    if code == "403" or is_denied(code):
        return "not allowed"
    is_unknown_stack = code == "ValidationError" and "does not exist" in str(error)
    return "missing" if is_unknown_stack or _MISSING.search(code) else None


def _search(path: str, answer: Any) -> Any:
    import jmespath  # comes with boto3

    return jmespath.search(path, answer)
