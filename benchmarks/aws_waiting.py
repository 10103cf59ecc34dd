"""What it costs to wait for many stacks in AWS: requests in each minute, and threads.

    python benchmarks/aws_waiting.py [--actions 100] [--minutes 3]

One execution has so many actions `Deploy/CloudFormation` side by side, and a server on this machine in place of AWS, whose stacks do not
end. From when all wait, the requests of each minute are counted, and the threads of the execution's process; one that is suspended
has none. At the end the stacks are complete, and all actions must succeed, each after one start.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from bench_setup import TESTS, action, leave, pipeline, set_up, wait_for
from processor import children_by_parent
from results import record

REGION = "eu-west-1"
TEMPLATE = '{"Resources": {"Queue": {"Type": "AWS::SQS::Queue"}}}'
# Between two counts of the threads.
PAUSE_SECONDS = 2.0
NAME = "stacks"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--actions", type=int, default=100)
    parser.add_argument("--minutes", type=int, default=3)
    arguments = parser.parse_args()
    sys.path.insert(0, str(TESTS / "support" / "aws"))
    os.environ.update(AWS_ACCESS_KEY_ID="bench", AWS_SECRET_ACCESS_KEY="bench")
    with set_up() as home:
        os.environ["PREFECT_CODEPIPELINE_CACHE"] = str(home / "cache")
        measure(home, arguments.actions, arguments.minutes)
    leave()


def measure(home: Path, actions: int, minutes: int) -> None:
    server = stacks_server()
    deploy(server.url, actions)
    from prefect_codepipeline.deployments.create import start_pipeline_execution

    execution_id = str(start_pipeline_execution(NAME, {}, {}, "bench"))
    wait_for(execution_id, lambda known: known.state and waiting_in(known) == actions)
    begun, before = time.monotonic(), len(server.requests)
    requests, threads = [], []
    for minute in range(1, minutes + 1):
        while time.monotonic() < begun + 60 * minute:
            time.sleep(PAUSE_SECONDS)
            threads.append(threads_of_executions(home))
        requests.append(len(server.requests) - before)
        before = len(server.requests)
    print(f"{actions} stacks: requests in each minute {requests}; threads {min(threads)} to {max(threads)}")
    record("aws-waiting", [float(each) for each in requests])
    record("aws-waiting-threads", [float(each) for each in threads])
    server.is_done = True
    known = wait_for(execution_id, lambda known: known.state and known.state.final, 300)
    if known.state.final.status != "Succeeded" or len(server.asked("CreateStack")) != actions:
        raise SystemExit(f"the execution has {known.state.final.status}: {known.state.final.summary}")


def waiting_in(known: Any) -> int:
    """How many actions have started their work and wait for it."""
    return sum(bool(action.waits) for _, action in known.state.actions)


def stacks_server() -> Any:
    """CloudFormation, in which every stack is in progress until `is_done`."""
    from aws_server import AwsServer, RefusalError

    server: Any = AwsServer()
    server.is_done = False
    began = datetime.now(timezone.utc)

    def create(asked: dict[str, Any]) -> dict[str, Any]:
        return {"StackId": stack_id(asked["StackName"])}

    def describe(asked: dict[str, Any]) -> dict[str, Any]:
        name = asked["StackName"]
        if not name.startswith("arn:") and not any(
            each["StackName"] == name for each in server.asked("CreateStack")
        ):
            raise RefusalError("ValidationError", f"Stack with id {name} does not exist")
        status = "CREATE_COMPLETE" if server.is_done else "CREATE_IN_PROGRESS"
        found = {"StackName": name, "StackId": stack_id(name), "StackStatus": status, "CreationTime": began}
        return {"Stacks": [found]}

    def events(asked: dict[str, Any]) -> dict[str, Any]:
        name = asked["StackName"].split("/")[-2]
        token = next(
            each["ClientRequestToken"] for each in server.asked("CreateStack") if each["StackName"] == name
        )
        statuses = ["CREATE_IN_PROGRESS", "CREATE_COMPLETE"][: 2 if server.is_done else 1]
        common = {
            "StackId": stack_id(name),
            "StackName": name,
            "PhysicalResourceId": stack_id(name),
            "LogicalResourceId": name,
            "ResourceType": "AWS::CloudFormation::Stack",
            "ClientRequestToken": token,
            "Timestamp": began,
        }
        return {
            "StackEvents": [
                {**common, "EventId": each, "ResourceStatus": each} for each in reversed(statuses)
            ]
        }

    server.answers |= {"CreateStack": create, "DescribeStacks": describe, "DescribeStackEvents": events}
    return server


def stack_id(name: str) -> str:
    return name if name.startswith("arn:") else f"arn:aws:cloudformation:{REGION}:123456789012:stack/{name}/1"


def deploy(url: str, actions: int) -> None:
    from prefect_codepipeline.blocks.pipeline_settings import PipelineSettings
    from prefect_codepipeline.deployments.create import deploy_pipeline
    from prefect_codepipeline.model.definition.action_settings import ActionSettings
    from prefect_codepipeline.model.definition.aws_settings import AwsSettings
    from prefect_codepipeline.model.names import slug

    source = {**action("Src", category="Source"), "outputArtifacts": [{"name": "Template"}]}
    source["configuration"] = {"Output": TEMPLATE}
    stacks = [
        {
            **action(f"Stack{number}", category="Deploy", owner="AWS", provider="CloudFormation"),
            "inputArtifacts": [{"name": "Template"}],
            "configuration": {
                "ActionMode": "CREATE_UPDATE",
                "StackName": f"stack-{number}",
                "RoleArn": "arn:aws:iam::123456789012:role/cfn",
                "TemplatePath": "Template::output.txt",
            },
        }
        for number in range(actions)
    ]
    deploy_pipeline(pipeline(NAME, {"Source": [source], "Stacks": stacks}))
    aws = AwsSettings(endpoint_url=url, region=REGION)
    PipelineSettings(defaults=ActionSettings(aws=aws)).save(slug(NAME))


def threads_of_executions(home: Path) -> int:
    """How many threads the processes of executions have together."""
    from prefect_codepipeline.deployments.local.state import read_state

    tree = children_by_parent()
    fork_servers = tree.get(read_state(home)["worker"]["pid"], [])
    pids = [pid for fork_server in fork_servers for pid in tree.get(fork_server, [])]
    return sum(len(list(Path(f"/proc/{pid}/task").glob("*"))) for pid in pids)


if __name__ == "__main__":
    main()
