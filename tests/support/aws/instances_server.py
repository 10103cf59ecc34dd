"""Systems Manager and target groups as a server that really runs the commands: each instance is a folder of this machine."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any
from uuid import uuid4

from aws_server import AwsServer, DroppedError, RefusalError

from prefect_codepipeline.actions.instances.host_script import FOLDER

ARN = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/web/1"
# Downloads from the S3 of the test, and puts the places of the instance below its folder.
_AWS = """#!/bin/sh
for argument; do from=$to; to=$argument; done
/usr/bin/curl -sf "{s3}/${{from#s3://}}?Signature=x" -o "$to" || exit 1
case $to in *deploy.sh) sed -i "s#/srv/app#{root}/app#g; s#{folder}#{root}/state#g" "$to" ;; esac
"""


class InstancesServer(AwsServer):
    """`nodes` are the instances by id, with their answer to DescribeInstanceInformation; `health` are the targets."""

    def __init__(self, folder: Path, s3: str) -> None:
        super().__init__()
        self.folder, self.s3 = folder, s3
        self.nodes: dict[str, dict[str, Any]] = {}
        self.commands: dict[str, dict[str, Any]] = {}
        self.results: dict[str, list[dict[str, Any]]] = {}
        self.health: dict[str, dict[str, Any]] = {}
        self.looks_until_ended = 0
        self.lose_next_answer = False
        self.answers = {
            "DescribeInstanceInformation": self._describe,
            "SendCommand": self._send,
            "ListCommands": self._list,
            "ListCommandInvocations": lambda asked: {"CommandInvocations": self.results[asked["CommandId"]]},
            "CancelCommand": self._cancel,
            "DescribeTargetGroups": self._groups,
            "DescribeTargetHealth": lambda _: {"TargetHealthDescriptions": [*self.health.values()]},
            "DeregisterTargets": self._deregister,
            "RegisterTargets": self._register,
        }

    def add(self, *names: str, **more: Any) -> None:
        for name in names:
            root = self.folder / name
            root.mkdir(parents=True)
            node = {"InstanceId": name, "PingStatus": "Online", "PlatformType": "Linux"}
            self.nodes[name] = {**node, **more}
            program = root / "bin" / "aws"
            program.parent.mkdir()
            program.write_text(_AWS.format(s3=self.s3, root=root, folder=FOLDER))
            program.chmod(0o755)

    def in_group(self, *names: str, state: str = "healthy", port: int = 80) -> None:
        for name in names:
            self.health[name] = {"Target": {"Id": name, "Port": port}, "TargetHealth": {"State": state}}

    @property
    def deployments(self) -> list[dict[str, Any]]:
        """The commands that deploy."""
        return [each for each in self.asked("SendCommand") if not each["Comment"].endswith(" look")]

    def _describe(self, asked: dict[str, Any]) -> dict[str, Any]:
        wanted = {each["Key"]: each["Values"] for each in asked["Filters"]}.get("InstanceIds", self.nodes)
        nodes = [node for name, node in self.nodes.items() if name in wanted]
        return {"InstanceInformationList": nodes}

    def _send(self, asked: dict[str, Any]) -> dict[str, Any]:
        command = {
            "CommandId": str(uuid4()),
            "Comment": asked["Comment"],
            "Status": "InProgress",
            "TargetCount": len(asked["InstanceIds"]),
            "CompletedCount": 0,
        }
        self.commands[command["CommandId"]] = command
        text, left = "\n".join(asked["Parameters"]["commands"]), int(asked["MaxErrors"])
        results = self.results[command["CommandId"]] = []
        for name in asked["InstanceIds"]:
            if left < 0:
                break
            results.append(self._ran(name, text))
            left -= results[-1]["Status"] != "Success"
        if self.lose_next_answer and not asked["Comment"].endswith(" look"):
            self.lose_next_answer = False
            raise DroppedError
        return {"Command": command}

    def _ran(self, name: str, text: str) -> dict[str, Any]:
        root = self.folder / name
        environment = {"PATH": f"{root / 'bin'}:{os.environ['PATH']}", "TMPDIR": str(root)}
        ran = subprocess.run(
            ["/bin/sh", "-c", text.replace(FOLDER, str(root / "state"))],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        status = "Success" if ran.returncode == 0 else "Failed"
        plugin = {"Name": "aws:runShellScript", "Output": (ran.stdout + ran.stderr)[:2500]}
        return {
            "InstanceId": name,
            "Status": status,
            "StatusDetails": status,
            "CommandPlugins": [plugin],
        }

    def _list(self, asked: dict[str, Any]) -> dict[str, Any]:
        if name := asked.get("InstanceId"):
            there = [
                key for key, results in self.results.items() if any(r["InstanceId"] == name for r in results)
            ]
            return {"Commands": [self.commands[key] for key in there]}
        command = self.commands[asked["CommandId"]]
        if command["Status"] == "InProgress":
            if self.looks_until_ended:
                self.looks_until_ended -= 1
            else:
                results = self.results[command["CommandId"]]
                command["Status"] = "Success" if all(r["Status"] == "Success" for r in results) else "Failed"
                command["CompletedCount"] = len(results)
        return {"Commands": [command]}

    def _cancel(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.commands[asked["CommandId"]]["Status"] = "Cancelled"
        return {}

    def _groups(self, asked: dict[str, Any]) -> dict[str, Any]:
        names = asked["Names"]
        if names != ["web"]:
            raise RefusalError("TargetGroupNotFound", f"One or more target groups not found {names}")
        return {"TargetGroups": [{"TargetGroupName": "web", "TargetGroupArn": ARN, "Port": 80}]}

    def _deregister(self, asked: dict[str, Any]) -> dict[str, Any]:
        for target in asked["Targets"]:
            self.health.pop(target["Id"])
        return {}

    def _register(self, asked: dict[str, Any]) -> dict[str, Any]:
        for target in asked["Targets"]:
            self.in_group(target["Id"], port=int(target.get("Port", 80)))
        return {}
