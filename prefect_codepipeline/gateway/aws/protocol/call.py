"""One call of the AWS API: who asks for what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

from prefect_codepipeline.model.stored.api_key import Permission
from prefect_codepipeline.model.wire.arns import Account

# The members of a request or an answer, as the API model names them; times are `datetime`, what has no value is None.
Members: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Caller:
    """Who signed a request: the access key's name, what it may do, and with which pipelines (`shop-*`)."""

    name: str
    account: Account = field(default_factory=Account)
    may: Permission = "admin"
    pipelines: tuple[str, ...] = ("*",)

    @property
    def arn(self) -> str:
        return self.account.user(self.name)

    @property
    def sees_all(self) -> bool:
        """Whether its key is for all pipelines, also those to come."""
        return "*" in self.pipelines

    def sees(self, pipeline_name: str) -> bool:
        """Whether its key is for that pipeline."""
        return self.sees_all or any(fnmatchcase(pipeline_name, pattern) for pattern in self.pipelines)


@dataclass(frozen=True)
class Call:
    """A checked request: `members` satisfy every constraint of the API model.

    `invocation` is the same when a client of AWS repeats a request whose answer it did not get.
    """

    operation: str
    members: Members
    caller: Caller
    request_id: str
    invocation: str | None = None

    @property
    def account(self) -> Account:
        return self.caller.account


# What answers an operation: the members of its answer, None for an operation without an answer. It raises
# `PipelineServiceError` for what AWS refuses.
Operation: TypeAlias = Callable[[Call], Members | None]
Operations: TypeAlias = Mapping[str, Operation]
