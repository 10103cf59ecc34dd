"""A project of Device Farm, and the run of an action in it.

A run has no token. It has the action execution id as its name, by which it is found if its ARN was lost.

https://docs.aws.amazon.com/devicefarm/latest/APIReference/API_ScheduleRun.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from prefect_codepipeline.actions.aws.account import client_of
from prefect_codepipeline.actions.aws.client import translated
from prefect_codepipeline.actions.aws.console import console_url
from prefect_codepipeline.actions.aws.remote_work import Work
from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.errors import ActionFailed

# The only region that has Device Farm.
REGION = "us-west-2"
_MOST_NAMES = 10


@dataclass
class Farm:
    """Device Farm as one action uses it."""

    device_farm: Any
    project_id: str
    context: ActionContext
    _new: dict[str, str] = field(default_factory=dict)

    @property
    def kept(self) -> Mapping[str, str]:
        """What this call and earlier ones have kept."""
        return {**(self.context.earlier.state if self.context.earlier else {}), **self._new}

    def keep(self, name: str, value: str) -> None:
        self.context.keep(**{name: value})
        self._new[name] = value

    def find_project(self) -> str:
        """The ARN of the project, looked up once.

        Raises:
            ActionFailed: with code `ConfigurationError`, there is no such project; names those there are.
        """
        if kept := self.kept.get("project"):
            return kept
        names = []
        with translated(f"looking up project {self.project_id!r} of Device Farm in region {REGION}"):
            for page in self.device_farm.get_paginator("list_projects").paginate():
                for project in page["projects"]:
                    if project["arn"].rpartition(":")[2] == self.project_id:
                        self.keep("project", project["arn"])
                        return str(project["arn"])
                    names.append(f"{project['arn'].rpartition(':')[2]} ({project.get('name')})")
        known = ", ".join(names[:_MOST_NAMES]) or "none"
        raise ActionFailed(
            f"there is no project {self.project_id!r} of Device Farm in region {REGION}; correct ProjectId; there are: {known}",
            code="ConfigurationError",
        )

    def schedule(self, asked: Mapping[str, Any]) -> Work:
        """Start the run."""
        name = self.context.action_execution_id
        self.keep("scheduled", name)  # before the request: from now on there may be a run with this name
        device_farm = client_of(self.context, "devicefarm", REGION, attempts=0)  # nothing repeats the request
        with translated(f"starting run {name!r} in project {self.project_id!r} in region {REGION}"):
            run = device_farm.schedule_run(projectArn=self.find_project(), name=name, **asked)["run"]
        return Work(run["arn"], run_page(run["arn"]))

    def find_run(self) -> Work | None:
        """The run with the name of the action, or None."""
        if "scheduled" not in self.kept:
            return None
        name = self.context.action_execution_id
        with translated(f"looking for run {name!r} in project {self.project_id!r} in region {REGION}"):
            for page in self.device_farm.get_paginator("list_runs").paginate(arn=self.find_project()):
                for run in page["runs"]:
                    if run.get("name") == name:
                        return Work(run["arn"], run_page(run["arn"]))
        return None

    def jobs_of(self, run: str) -> list[dict[str, Any]]:
        """What ran on each device, or nothing if that cannot be read: the result of the run is known anyway."""
        return self.listed("list_jobs", "jobs", run)

    def listed(self, operation: str, key: str, arn: str, **more: str) -> list[dict[str, Any]]:
        """All entries of a list that belongs to a run, or nothing if it cannot be read."""
        found: list[dict[str, Any]] = []
        try:
            with translated("reading the results"):
                for page in self.device_farm.get_paginator(operation).paginate(arn=arn, **more):
                    found += page[key]
        except ActionFailed as error:
            self.context.logger.warning("%s", error)
        return found


def run_page(arn: str) -> str | None:
    """The page of a run in the console; its ARN ends with `run:PROJECT/RUN`."""
    project, _, run = arn.rpartition(":")[2].partition("/")
    return console_url(arn, f"devicefarm/home?region={{region}}#/mobile/projects/{project}/runs/{run}")
