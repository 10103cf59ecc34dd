"""Rule/AWS/CodeBuild/1: a build of a project must succeed; it runs like that of a CodeBuild action.

https://docs.aws.amazon.com/codepipeline/latest/userguide/rule-reference-CodeBuild.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from prefect_codepipeline.actions.aws.remote_work import Work
from prefect_codepipeline.actions.codebuild.project.finding import find_project
from prefect_codepipeline.actions.codebuild.service.clients import Clients
from prefect_codepipeline.actions.codebuild.service.running import abandon_in_codebuild, project_is_gone
from prefect_codepipeline.actions.registry import WorkGoesOn
from prefect_codepipeline.actions.rule_as_action import as_action
from prefect_codepipeline.actions.rule_registry import (
    RuleConfiguration,
    RuleContext,
    RuleResult,
    WaitUntil,
    rule_provider,
)
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.definition.aws_settings import AwsSettings
from prefect_codepipeline.tasks.providers.build.codebuild import (
    CodeBuildConfiguration,
    ProjectConfiguration,
    run_codebuild,
)

# Under these names the memory of a rule has the id of its build in AWS, and what else stops the build.
_BUILD, _PLACE = "build", "place"


class CodeBuildRuleConfiguration(ProjectConfiguration, RuleConfiguration):
    """The same configuration as for the action, without the overrides."""


def stop_build(memory: Mapping[str, str]) -> None:
    """Stop the build in AWS of a rule whose result is no longer needed. Raises `ActionFailed` if that is not possible."""
    if _BUILD not in memory:
        return
    place = json.loads(memory[_PLACE])
    project = find_project(place["project"])
    if project is None:
        raise project_is_gone(place["project"], Work(memory[_BUILD]))
    clients = Clients(project, AwsSettings.model_validate(place["aws"]), place["region"])
    abandon_in_codebuild(clients, memory[_BUILD], place["batch"], place["rule_execution_id"])


@rule_provider(provider="CodeBuild", inputs=(1, 5), timeout_in_minutes=60, abandon=stop_build)
def run_rule_codebuild(
    configuration: CodeBuildRuleConfiguration, context: RuleContext
) -> RuleResult | WaitUntil:
    """Met when the build succeeds. A build in AWS is waited for without a thread."""
    wanted = CodeBuildConfiguration.model_construct(**dict(configuration))
    action = as_action(context, "Build", "CodeBuild")
    try:
        result = run_codebuild(wanted, action)
    except WorkGoesOn as work:
        memory = {**action.memory, _PLACE: _place(configuration, context)}
        if context.now >= context.expires_at:
            stop_build(memory)
        until = work.waiting.until or context.expires_at
        return WaitUntil(until, work.waiting.summary, memory, memory.get(_BUILD))
    except ActionFailed as error:
        if error.code != "JobFailed":
            raise
        return RuleResult("Failed", str(error), error.external_execution_id, error.external_execution_url)
    result.cleanup()
    return RuleResult(
        "Succeeded", result.summary, result.external_execution_id, result.external_execution_url
    )


def _place(configuration: CodeBuildRuleConfiguration, context: RuleContext) -> str:
    return json.dumps(
        {
            "project": configuration.project_name,
            "aws": context.settings.aws.model_dump(exclude_none=True),
            "region": context.rule.region,
            "batch": configuration.batch_enabled,
            "rule_execution_id": context.rule_execution_id,
        }
    )
