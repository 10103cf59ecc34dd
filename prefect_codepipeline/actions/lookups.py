"""What an action names in AWS, and the call that tells whether it is there: for `codepipeline validate --online`.

A provider of actions that use AWS gives a function as `online` of `@action_provider`, which yields these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

_READING = ("batch_get_", "describe_", "get_", "head_", "list_")


@dataclass(frozen=True)
class Lookup:
    """One thing that an action names, and a call that only reads.

    Args:
        what: the thing, for users: `bucket 'site'`.
        service: boto3's name of the service.
        operation: the method of its client.
        arguments: of that method.
        found: the JMESPath of what the answer must have; empty if any answer means that the thing is there.
        if_missing: why it need not be there: `the action creates it`. Empty: without it the action fails.
        region: where it is; by default in the region of the action.
        account_id: the account that has it, if the definition says so; it can be looked up only from there.
        connect: returns the client of a service, if the account is not that of the action.

    Raises:
        ValueError: the operation may change something.
    """

    what: str
    service: str
    operation: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    found: str = ""
    if_missing: str = ""
    region: str | None = None
    account_id: str | None = None
    connect: Callable[[str], Any] | None = None

    def __post_init__(self) -> None:
        if not self.operation.startswith(_READING):
            raise ValueError(f"{self.operation} may change something; a lookup only reads")
