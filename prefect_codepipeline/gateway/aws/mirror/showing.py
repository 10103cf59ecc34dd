"""What the AWS API shows of an execution that was read."""

from __future__ import annotations

from prefect_codepipeline.engine.executions.not_begun import pinned_to_be
from prefect_codepipeline.gateway.aws.mirror.executions import WatchedExecution
from prefect_codepipeline.gateway.aws.mirror.pipelines import KnownPipeline
from prefect_codepipeline.model.record.folding import Folding
from prefect_codepipeline.model.wire.action_execution import Row, action_rows
from prefect_codepipeline.model.wire.rule_execution import rule_rows
from prefect_codepipeline.model.wire.shown import ShownExecution
from prefect_codepipeline.prefect_api.client import moment


def shown(watched: WatchedExecution, pipeline: KnownPipeline) -> ShownExecution:
    """The execution; the pipeline's newest version counts for one that has not begun and names none."""
    return watched.view("shown", lambda: _shown(watched, pipeline))


def rows_of_actions(watched: WatchedExecution, pipeline: KnownPipeline, region: str) -> list[Row]:
    """The executions of its actions."""
    return watched.view(("actions", region), lambda: action_rows(shown(watched, pipeline), region))


def rows_of_rules(watched: WatchedExecution, pipeline: KnownPipeline, region: str) -> list[Row]:
    """The executions of its rules."""
    return watched.view(("rules", region), lambda: rule_rows(shown(watched, pipeline), region))


def _shown(watched: WatchedExecution, pipeline: KnownPipeline) -> ShownExecution:
    known, declaration = watched.known, watched.declaration or pipeline.declaration
    facts, state = known.facts, known.state
    if state is None:
        pinned = pinned_to_be(known.run, declaration, pipeline.definition_id)
        facts = [pinned, *facts]
        state = Folding(known.id, declaration, facts).state
        assert state, "a pinned execution has a state"
    started_at = moment(known.run["expected_start_time"])
    return ShownExecution(state, declaration, facts, known.status, known.summary, started_at)
