"""One stack: how it stands, its outputs, its page.

https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DescribeStacks.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from prefect_codepipeline.actions.aws.account import client_of
from prefect_codepipeline.actions.aws.client import error_code, translated
from prefect_codepipeline.actions.aws.console import console_url
from prefect_codepipeline.actions.registry import ActionContext

# CloudFormation creates a stack with its first change set; until that is executed, the stack has nothing.
UNDER_REVIEW = "REVIEW_IN_PROGRESS"
State = Mapping[str, Any]


@dataclass(frozen=True)
class Stack:
    """The stack of an action, by its name; `client` is that of its region and account."""

    name: str
    context: ActionContext
    client: Any

    @classmethod
    def of(cls, name: str, context: ActionContext) -> Stack:
        return cls(name, context, client_of(context, "cloudformation"))

    @property
    def region(self) -> str:
        return str(self.client.meta.region_name)

    @property
    def what(self) -> str:
        """For messages."""
        return f"stack {self.name!r} in {self.region}"

    @property
    def token(self) -> str:
        """The token of what the action does, which the stack's events show."""
        return self.context.action_execution_id

    def describe(self, stack_id: str | None = None) -> State | None:
        """The stack, or None if there is none; a deleted stack is found only by its id."""
        from botocore.exceptions import ClientError

        with translated(f"looking up {self.what}"):
            try:
                found = self.client.describe_stacks(StackName=stack_id or self.name)["Stacks"]
            except ClientError as error:
                if error_code(error) == "ValidationError" and "does not exist" in str(error):
                    return None
                raise
        return dict(found[0]) if found else None


def outputs_of(state: State | None) -> dict[str, str]:
    """The outputs of a stack, as text."""
    outputs = (state or {}).get("Outputs") or ()
    return {output["OutputKey"]: output.get("OutputValue", "") for output in outputs}


def stack_url(stack_id: str) -> str | None:
    """The page of a stack in AWS's console."""
    return console_url(stack_id, "cloudformation/home?region={region}#/stacks/stackinfo?stackId={arn}")


def change_set_url(stack_id: str, change_set_id: str) -> str | None:
    """The page of a change set in AWS's console."""
    return console_url(
        change_set_id,
        "cloudformation/home?region={region}#/stacks/changesets/changes?stackId="
        f"{quote(stack_id, safe='')}&changeSetId={{arn}}",
    )
