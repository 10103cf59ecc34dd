"""`codepipeline prune`: what it refuses before it asks any server."""

from __future__ import annotations

import pytest

from prefect_codepipeline.cli.setup.prune import prune
from prefect_codepipeline.errors import CodePipelineError, PrefectUnavailable


@pytest.mark.parametrize("period", ["0d", "23h", "0h"])
def test_less_than_a_day_is_refused_without_yes(period, no_server):
    with pytest.raises(
        CodePipelineError, match=f"--older-than {period} removes .* nothing was removed.*--yes"
    ):
        prune(older_than=period)


@pytest.mark.parametrize("period", ["", "365", "-1d", "1.5d", "1w", "d", "9999999d", "³d"])
def test_what_is_no_period_is_refused(period, no_server):
    with pytest.raises(CodePipelineError, match="takes days or hours, such as 365d or 12h, got"):
        prune(older_than=period, yes=True)


@pytest.mark.parametrize("more", [{"yes": True}, {"dry_run": True}])
def test_with_yes_or_without_changes_it_is_not(more, no_server, monkeypatch, tmp_path):
    monkeypatch.setenv("PREFECT_CODEPIPELINE_HOME", str(tmp_path))
    with pytest.raises(PrefectUnavailable):
        prune(older_than="0d", **more)
