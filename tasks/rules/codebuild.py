"""Rule/AWS/CodeBuild/1: a build of a project must succeed; it runs like that of a CodeBuild action.

https://docs.aws.amazon.com/codepipeline/latest/userguide/rule-reference-CodeBuild.html
"""

from __future__ import annotations

from prefect_codepipeline.actions.rule_as_action import as_action
from prefect_codepipeline.actions.rule_registry import (
    RuleConfiguration,
    RuleContext,
    RuleResult,
    rule_provider,
)
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.tasks.providers.build.codebuild import (
    CodeBuildConfiguration,
    ProjectConfiguration,
    run_codebuild,
)


class CodeBuildRuleConfiguration(ProjectConfiguration, RuleConfiguration):
    """The same configuration as for the action, without the overrides."""


@rule_provider(provider="CodeBuild", inputs=(1, 5), timeout_in_minutes=60)
def run_rule_codebuild(configuration: CodeBuildRuleConfiguration, context: RuleContext) -> RuleResult:
    """Met when the build succeeds."""
    wanted = CodeBuildConfiguration.model_construct(**dict(configuration))
    try:
        result = run_codebuild(wanted, as_action(context, "Build", "CodeBuild"))
    except ActionFailed as error:
        if error.code != "JobFailed":
            raise
        return RuleResult("Failed", str(error), error.external_execution_id, error.external_execution_url)
    return RuleResult(
        "Succeeded", result.summary, result.external_execution_id, result.external_execution_url
    )
