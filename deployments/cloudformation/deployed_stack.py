"""What CloudFormation knows of the stack that a template has made: names, parameters, outputs and exports. Read only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from prefect_codepipeline.actions.aws.client import Account, error_code, translated
from prefect_codepipeline.errors import CodePipelineError

NESTED = "AWS::CloudFormation::Stack"
_HIDDEN = "****"  # CloudFormation's value of a parameter with NoEcho
_SUFFIXES = {"aws-cn": "amazonaws.com.cn"}
_UNKNOWN_ROLE = ("AccessDenied", "AccessDeniedException", "NoSuchEntity")


@dataclass(frozen=True)
class DeployedResource:
    """A resource of a stack. `name` is its physical id, the value of `Ref`."""

    type: str
    name: str


@dataclass(frozen=True)
class DeployedStack:
    """A stack in AWS.

    Args:
        name: its name.
        account: where it is.
        resources: by their logical ids.
        outputs: the values of its outputs.
        values: what an import asks for, by name: parameters, pseudo parameters, resources and exports.
    """

    name: str
    account: Account
    resources: Mapping[str, DeployedResource] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)
    _asked: dict[tuple[str, str], str | None] = field(default_factory=dict)

    def attribute(self, logical_id: str, attribute: str) -> str | None:
        """The value of `Fn::GetAtt`, if it is certain: of a role, a nested stack, or a resource that is named by its ARN.

        Raises:
            ActionFailed: AWS does not answer.
        """
        key = (logical_id, attribute)
        if key not in self._asked:
            self._asked[key] = self._look_up(self.resources.get(logical_id), attribute)
        return self._asked[key]

    def _look_up(self, resource: DeployedResource | None, attribute: str) -> str | None:
        if resource is None:
            return None
        if attribute.startswith("Outputs.") and resource.type == NESTED:
            stack = _describe(self.account, resource.name)
            return _outputs(stack).get(attribute.removeprefix("Outputs."))
        if resource.type == "AWS::IAM::Role" and attribute == "Arn":
            return _arn_of_role(self.account, resource.name)
        own = resource.type.rpartition("::")[2]
        is_arn = attribute in ("Arn", f"{own}Arn") and resource.name.startswith("arn:")
        return resource.name if is_arn else None


def read_deployed_stack(name: str, account: Account) -> DeployedStack:
    """Read a stack.

    Raises:
        CodePipelineError: there is no such stack.
        ActionFailed: AWS refuses or does not answer, or boto3 is not installed.
    """
    stack = _describe(account, name)
    client = account.client("cloudformation")
    with translated(f"reading the resources of stack {name!r} and the exports"):
        resources = {
            each["LogicalResourceId"]: DeployedResource(each["ResourceType"], each["PhysicalResourceId"])
            for page in client.get_paginator("list_stack_resources").paginate(StackName=name)
            for each in page["StackResourceSummaries"]
            if each.get("PhysicalResourceId")
        }
        exports = {
            f"ImportValue.{each['Name']}": each["Value"]
            for page in client.get_paginator("list_exports").paginate()
            for each in page["Exports"]
        }
    names = {logical_id: resource.name for logical_id, resource in resources.items()}
    values = {**exports, **names, **_pseudo_parameters(stack), **_parameters(stack)}
    return DeployedStack(name, account, resources, _outputs(stack), values)


def _describe(account: Account, name: str) -> Mapping[str, Any]:
    from botocore.exceptions import ClientError

    client = account.client("cloudformation")
    region = client.meta.region_name
    with translated(f"reading stack {name!r} in region {region}"):
        try:
            stacks = client.describe_stacks(StackName=name)["Stacks"]
        except ClientError as error:
            if error_code(error) == "ValidationError" and "does not exist" in str(error):
                raise CodePipelineError(
                    f"there is no stack {name!r} in region {region} of the account; correct --stack, --region or --profile"
                ) from None
            raise
    found: Mapping[str, Any] = stacks[0]
    return found


def _outputs(stack: Mapping[str, Any]) -> dict[str, str]:
    return {each["OutputKey"]: each["OutputValue"] for each in stack.get("Outputs") or ()}


def _parameters(stack: Mapping[str, Any]) -> dict[str, str]:
    """The values of the parameters, except those that CloudFormation hides."""
    found = {
        # The value of an SSM parameter is its name; what it stands for is resolved.
        each["ParameterKey"]: each.get("ResolvedValue") or each.get("ParameterValue", "")
        for each in stack.get("Parameters") or ()
    }
    return {name: value for name, value in found.items() if value != _HIDDEN}


def _pseudo_parameters(stack: Mapping[str, Any]) -> dict[str, str]:
    _, partition, _, region, account, _ = stack["StackId"].split(":", 5)
    return {
        "AWS::AccountId": account,
        "AWS::Partition": partition,
        "AWS::Region": region,
        "AWS::StackId": stack["StackId"],
        "AWS::StackName": stack["StackName"],
        "AWS::URLSuffix": _SUFFIXES.get(partition, "amazonaws.com"),
    }


def _arn_of_role(account: Account, name: str) -> str | None:
    """The ARN of a role, which may have a path; None if it cannot be looked up."""
    from botocore.exceptions import ClientError

    with translated(f"reading role {name!r}"):
        try:
            return str(account.client("iam").get_role(RoleName=name)["Role"]["Arn"])
        except ClientError as error:
            if error_code(error) in _UNKNOWN_ROLE:
                return None
            raise
