"""Written answers of CloudFormation about one stack set, `shop`, and the server that gives them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from aws_environment import use_endpoint
from aws_server import Answer, AwsServer, RefusalError, in_turn

SET_ID = "shop:0f1e-77aa"
TOKEN = "a1"
URL = (
    "https://eu-west-1.console.aws.amazon.com/cloudformation/home?region=eu-west-1#/stacksets/shop%3A0f1e-77aa/"
    "operations"
)
NO_SET = RefusalError("StackSetNotFoundException", "StackSet shop not found", 404)
NO_OPERATION = RefusalError("OperationNotFoundException", "Operation not found", 404)
BUSY = RefusalError("OperationInProgressException", "Another Operation on StackSet is in progress", 409)
STARTED_BEFORE = RefusalError("OperationIdAlreadyExistsException", "the id exists", 409)
_STARTS = ("CreateStackInstances", "UpdateStackSet")
THERE = {"StackSet": {"StackSetName": "shop", "StackSetId": SET_ID, "Status": "ACTIVE"}}


def operation(status: str, **more: Any) -> dict[str, Any]:
    found = {"OperationId": TOKEN, "StackSetId": SET_ID, "Action": "UPDATE", "Status": status, **more}
    return {"StackSetOperation": found}


def results(*instances: tuple[str, str, str] | tuple[str, str, str, str]) -> dict[str, Any]:
    """Account, region, status and maybe a reason of each instance."""
    names = ("Account", "Region", "Status", "StatusReason")
    return {"Summaries": [dict(zip(names, each, strict=False)) for each in instances]}


def instances(*pairs: tuple[str, str], unit: str = "") -> dict[str, Any]:
    more = {"OrganizationalUnitId": unit} if unit else {}
    found = [{"StackSetId": SET_ID, "Account": account, "Region": region} for account, region in pairs]
    return {"Summaries": [{**each, "Status": "CURRENT", **more} for each in found]}


def looks(server: AwsServer, *answers: Any) -> Answer:
    """What one sees of an operation, look after look. One that was not started is not there."""
    seen = in_turn(answers)

    def look(request: dict[str, Any]) -> dict[str, Any]:
        ids = [each.get("OperationId") for name, each in server.requests if name in _STARTS]
        return seen(request) if request["OperationId"] in ids else in_turn([NO_OPERATION])(request)

    return look


def operations_of(server: AwsServer) -> list[str]:
    """The names of the requests that change something."""
    return [name for name, _ in server.requests if not name.startswith(("Describe", "List"))]


def stack_set_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsServer]:
    """CloudFormation with the stack set, in which every operation succeeds at the second look."""
    server = AwsServer()
    use_endpoint(monkeypatch, server.url, "eu-west-1")
    given = ("111122223333", "eu-west-1")
    server.answers |= {
        "DescribeStackSet": in_turn([THERE]),
        "ListStackInstances": in_turn([instances(given)]),
        "CreateStackSet": in_turn([{"StackSetId": SET_ID}]),
        "CreateStackInstances": lambda request: {"OperationId": request["OperationId"]},
        "UpdateStackSet": lambda request: {"OperationId": request["OperationId"]},
        "DescribeStackSetOperation": looks(server, operation("RUNNING"), operation("SUCCEEDED")),
        "ListStackSetOperationResults": in_turn(
            [results((*given, "RUNNING")), results((*given, "SUCCEEDED"))]
        ),
        "StopStackSetOperation": lambda _: {},
    }
    yield server
    server.stop()
