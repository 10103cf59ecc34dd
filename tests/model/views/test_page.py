"""The page of an execution in Prefect's UI: texts of strangers stay texts, and reasons keep their lines."""

from __future__ import annotations

import pytest

from prefect_codepipeline.model.views.page import _block


@pytest.mark.parametrize(
    ("text", "fence"),
    [
        pytest.param("one\ntwo", "```", id="lines"),
        pytest.param("```\n# not a heading", "````", id="a fence of its own"),
        pytest.param("a ````` b", "``````", id="a longer one"),
    ],
)
def test_a_reason_is_a_code_block_that_it_cannot_end(text: str, fence: str) -> None:
    assert _block(text) == [f"{fence}text", text, fence]


def test_a_reason_has_no_characters_that_mislead() -> None:
    assert _block("a\x1b[2K\u202eb")[1] == "a[2Kb"
