"""How a run ends whose record could not be read or written."""

from __future__ import annotations

import pytest

from prefect_codepipeline.engine.executions.process import OutcomeUnknown
from prefect_codepipeline.errors import CodePipelineError, MissingBlock, PrefectRefused, PrefectUnavailable
from prefect_codepipeline.flows.pipeline import _without_record


def test_an_execution_is_resumed_after_prefect_was_away_and_not_failed_without_a_record_of_it() -> None:
    with pytest.raises(OutcomeUnknown, match="no answer"):
        _without_record(PrefectUnavailable("no answer"), can_be_resumed=True)


@pytest.mark.parametrize(
    ("error", "can_be_resumed"),
    [(PrefectUnavailable("x"), False), (PrefectRefused("x"), True), (MissingBlock("x"), True)],
)
def test_what_no_other_process_can_do_fails(error: CodePipelineError, can_be_resumed: bool) -> None:
    assert _without_record(error, can_be_resumed=can_be_resumed).message == "x"
