"""The code of docs/aws-api.md: the quick start runs; the workers are those that are run, the example by its test."""

from __future__ import annotations

import os
import re

import pytest
from pages import ROOT, blocks_of
from serving import serving

from prefect_codepipeline.gateway.app import create_app
from prefect_codepipeline.gateway.serve import prepare_gateway

PAGE = ROOT / "docs" / "aws-api.md"
EXAMPLE = ROOT / "examples" / "worker" / "worker.py"


@pytest.mark.live
def test_the_quick_start_creates_and_reads_a_pipeline(
    prefect_server: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = [text for _, text in blocks_of(PAGE) if '"quick-start"' in text]
    (typed,) = [text for _, text in blocks_of(PAGE) if "$ codepipeline up --gateway" in text]
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in re.findall(r" (AWS_\w+)=(\S+)", typed):
        monkeypatch.setenv(name, value)
    with serving(create_app()) as url:
        prepare_gateway(url)
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        exec(compile(code, "docs/aws-api.md", "exec"), {})

    assert capsys.readouterr().out.splitlines() == ['["Source", "Release"]', "CreatePipeline InProgress"]


def test_the_worker_of_the_page_is_the_example() -> None:
    assert EXAMPLE.read_text() in PAGE.read_text()


def test_the_function_of_the_page_uses_what_there_is() -> None:
    (function,) = [text for _, text in blocks_of(PAGE) if "prefect_codepipeline.jobs" in text]
    scope: dict[str, object] = {}
    exec(compile(function.replace("\nworker(", "\n(lambda *_, **given: given)("), "page", "exec"), scope)
    assert callable(scope["release"])
