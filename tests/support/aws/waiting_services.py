"""AWS's services whose work ends when the test says so: every action type that waits for work in AWS finds its service here."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from aws_server import AwsServer, RefusalError

ECS = "arn:aws:ecs:eu-west-1:123456789012"
STATES = "arn:aws:states:eu-west-1:123456789012"
MACHINE = f"{STATES}:stateMachine:check"
FARM = "arn:aws:devicefarm:us-west-2:111122223333"
TASK_DEFINITION = {"family": "blue", "containerDefinitions": [{"name": "app", "image": "registry/web:2"}]}
_NODE = {"InstanceId": "i-1", "PingStatus": "Online", "PlatformType": "Linux"}


def command(number: int) -> str:
    """The id of a command of Systems Manager."""
    return f"00000000-0000-0000-0000-{number:012}"


def _now() -> datetime:
    return datetime.now(timezone.utc)


class WaitingServices(AwsServer):
    """All work that was started has ended as soon as `is_done` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.is_done = False
        for answers in (
            _ecs,
            _codedeploy_and_appconfig,
            _beanstalk,
            _stack_sets,
            _functions,
            _managed,
            _devices,
        ):
            self.answers |= answers(self)

    def one_of(self, good: str, waiting: str) -> str:
        return good if self.is_done else waiting

    def service(self) -> dict[str, Any]:
        revision = 2 if self.asked("UpdateService") else 1
        deployment = {
            "id": f"ecs-svc/{revision}",
            "status": "PRIMARY",
            "taskDefinition": f"{ECS}:task-definition/web:{revision}",
            "desiredCount": 1,
            "runningCount": 1 if self.is_done else 0,
            "createdAt": _now(),
            "rolloutState": self.one_of("COMPLETED", "IN_PROGRESS"),
        }
        return {
            "serviceName": "web",
            "serviceArn": f"{ECS}:service/shop/web",
            "clusterArn": f"{ECS}:cluster/shop",
            "status": "ACTIVE",
            "taskDefinition": deployment["taskDefinition"],
            "deployments": [deployment],
        }

    def environment(self) -> dict[str, Any]:
        updates = self.asked("UpdateEnvironment")
        return {
            "EnvironmentName": "prod",
            "EnvironmentId": "e-1",
            "VersionLabel": updates[0]["VersionLabel"] if updates else "v1",
            "Status": self.one_of("Ready", "Updating") if updates else "Ready",
            "Health": "Green",
        }


def _ecs(aws: WaitingServices) -> dict[str, Any]:
    known = {**TASK_DEFINITION, "family": "web", "registeredAt": _now()}
    return {
        "DescribeServices": lambda _: {"services": [aws.service()]},
        "DescribeTaskDefinition": lambda _: {"taskDefinition": known},
        "ListTaskDefinitions": lambda _: {"taskDefinitionArns": []},
        "RegisterTaskDefinition": lambda asked: {
            "taskDefinition": {"taskDefinitionArn": f"{ECS}:task-definition/{asked['family']}:2"}
        },
        "UpdateService": lambda _: {"service": aws.service()},
    }


def _codedeploy_and_appconfig(aws: WaitingServices) -> dict[str, Any]:
    """Both have deployments: those of AppConfig are asked for by the application's id."""

    def get(asked: dict[str, Any]) -> dict[str, Any]:
        if "ApplicationId" in asked:
            state = aws.one_of("COMPLETE", "DEPLOYING")
            return {"DeploymentNumber": 7, "ConfigurationVersion": "3", "State": state}
        status = aws.one_of("Succeeded", "InProgress")
        return {"deploymentInfo": {"deploymentId": asked["deploymentId"], "status": status}}

    return {
        "CreateDeployment": lambda asked: {"deploymentId": f"d-{asked['deploymentGroupName']}"},
        "ListDeployments": lambda asked: {"Items": []} if "ApplicationId" in asked else {"deployments": []},
        "GetDeployment": get,
        "GetConfigurationProfile": lambda _: {"Id": "prof123", "LocationUri": "hosted"},
        "ListHostedConfigurationVersions": lambda _: {"Items": []},
        "CreateHostedConfigurationVersion": lambda asked: {
            "VersionNumber": 3,
            "Content": asked["Content"],
            "ContentType": asked["ContentType"],
        },
        "StartDeployment": lambda _: {"DeploymentNumber": 7, "State": "DEPLOYING"},
    }


def _beanstalk(aws: WaitingServices) -> dict[str, Any]:
    return {
        "CreateStorageLocation": lambda _: {"S3Bucket": "bundles"},
        "DescribeApplicationVersions": lambda _: {"ApplicationVersions": []},
        "CreateApplicationVersion": lambda _: {},
        "UpdateEnvironment": lambda _: aws.environment(),
        "DescribeEnvironments": lambda _: {"Environments": [aws.environment()]},
        "DescribeEvents": lambda _: {"Events": []},
    }


def _stack_sets(aws: WaitingServices) -> dict[str, Any]:
    def operation(asked: dict[str, Any]) -> dict[str, Any]:
        started = [*aws.asked("UpdateStackSet"), *aws.asked("CreateStackInstances")]
        if asked["OperationId"] not in [each["OperationId"] for each in started]:
            raise RefusalError("OperationNotFoundException", "Operation not found", 404)
        status = aws.one_of("SUCCEEDED", "RUNNING")
        return {"StackSetOperation": {"OperationId": asked["OperationId"], "Status": status}}

    return {
        "DescribeStackSet": lambda asked: {
            "StackSet": {"StackSetName": asked["StackSetName"], "StackSetId": f"{asked['StackSetName']}:1"}
        },
        "UpdateStackSet": lambda asked: {"OperationId": asked["OperationId"]},
        "CreateStackInstances": lambda asked: {"OperationId": asked["OperationId"]},
        "DescribeStackSetOperation": operation,
        "ListStackSetOperationResults": lambda _: {"Summaries": []},
    }


def _functions(aws: WaitingServices) -> dict[str, Any]:
    """Lambda, where the update of the code goes on, and Step Functions."""

    def function(_: dict[str, Any]) -> dict[str, Any]:
        is_updating = aws.asked("UpdateFunctionCode") and not aws.is_done
        status = "InProgress" if is_updating else "Successful"
        return {"FunctionName": "web", "State": "Active", "LastUpdateStatus": status, "PackageType": "Zip"}

    def alias(_: dict[str, Any]) -> dict[str, Any]:
        updates = aws.asked("UpdateAlias")
        return {"Name": "live", "FunctionVersion": updates[-1]["FunctionVersion"] if updates else "1"}

    def execution(asked: dict[str, Any]) -> dict[str, Any]:
        found = {"executionArn": asked["executionArn"], "stateMachineArn": MACHINE, "startDate": _now()}
        return {**found, "status": aws.one_of("SUCCEEDED", "RUNNING"), "output": "{}"}

    return {
        "GetFunctionConfiguration": function,
        "GetAlias": alias,
        "UpdateFunctionCode": lambda _: {"FunctionName": "web", "CodeSha256": "abc="},
        "PublishVersion": lambda _: {"FunctionName": "web", "Version": "2"},
        "UpdateAlias": alias,
        "DescribeStateMachine": lambda _: {"stateMachineArn": MACHINE, "type": "STANDARD"},
        "StartExecution": lambda asked: {
            "executionArn": f"{STATES}:execution:check:{asked['name']}",
            "startDate": _now(),
        },
        "DescribeExecution": execution,
    }


def _managed(aws: WaitingServices) -> dict[str, Any]:
    """Service Catalog, and Systems Manager with one node. Its first command asks what the node has; that ends at once."""

    def product(_: dict[str, Any]) -> dict[str, Any]:
        detail = {"Id": "pa-1", "Name": "v2"}
        return {"ProvisioningArtifactDetail": detail, "Status": aws.one_of("AVAILABLE", "CREATING")}

    def commands(asked: dict[str, Any]) -> dict[str, Any]:
        if "CommandId" not in asked:
            return {"Commands": []}
        status = "Success" if asked["CommandId"] == command(1) else aws.one_of("Success", "InProgress")
        return {"Commands": [{"CommandId": asked["CommandId"], "Status": status, "TargetCount": 1}]}

    return {
        "CreateProvisioningArtifact": product,
        "DescribeProvisioningArtifact": product,
        "DescribeInstanceInformation": lambda _: {"InstanceInformationList": [_NODE]},
        "SendCommand": lambda _: {"Command": {"CommandId": command(len(aws.asked("SendCommand")))}},
        "ListCommands": commands,
        "ListCommandInvocations": lambda _: {
            "CommandInvocations": [{"InstanceId": "i-1", "Status": "Success"}]
        },
    }


def _devices(aws: WaitingServices) -> dict[str, Any]:
    run = f"{FARM}:run:P1/R1"
    return {
        "ListProjects": lambda _: {"projects": [{"arn": f"{FARM}:project:P1", "name": "shop"}]},
        "ScheduleRun": lambda _: {"run": {"arn": run, "status": "SCHEDULING"}},
        "ListRuns": lambda _: {"runs": []},
        "GetRun": lambda _: {
            "run": {
                "arn": run,
                "status": aws.one_of("COMPLETED", "RUNNING"),
                "result": aws.one_of("PASSED", "PENDING"),
            }
        },
        "ListJobs": lambda _: {"jobs": []},
        "ListArtifacts": lambda _: {"artifacts": []},
    }
