"""What every provider, every file and every promise of the documents has in common."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import prefect_codepipeline
from prefect_codepipeline.actions.registry import ActionProvider, providers

ROOT = Path(__file__).parent.parent
DOCUMENTS = [*sorted(ROOT.glob("docs/**/*.md")), ROOT / "README.md"]
OURS = [provider for kind, provider in providers().items() if kind.owner != "Custom"]


@pytest.mark.parametrize("provider", OURS, ids=lambda provider: str(provider.action_type))
def test_a_provider_names_its_page_and_refuses_unknown_keys_and_has_a_test(provider: ActionProvider) -> None:
    module = inspect.getmodule(provider.run)
    assert module
    assert "https://docs.aws.amazon.com/codepipeline/" in (module.__doc__ or "")
    assert provider.configuration.model_config["extra"] == "forbid"
    stem = module.__name__.rpartition(".")[2]
    tests = [
        *(ROOT / "tests" / "tasks" / "providers").rglob(f"test_{stem}*.py"),
        *ROOT.glob("tests/acceptance/*.py"),
        *ROOT.glob("tests/flows/*.py"),
    ]
    assert any(stem in path.stem or provider.action_type.provider in path.read_text() for path in tests)
    assert str(provider.action_type) in (ROOT / "docs" / "providers.md").read_text()


def test_nothing_imports_boto3_before_an_action_uses_it() -> None:
    """Neither the package and its providers, nor the command line, nor the worker and the processes it starts."""
    modules = [
        "prefect_codepipeline", "cli", "actions.registry", "actions.rule_registry", "actions.aws.account",
        *(f"deployments.worker.{name}" for name in ("worker", "execution", "fork_server", "prefect_engine")),
        "flows.pipeline", "flows.poll", "flows.reconcile", "gateway.app", "deployments.create",
    ]  # fmt: skip
    code = (
        "import sys; from importlib import import_module\n"
        "for name in sys.argv[1:]: import_module(name)\n"
        "sys.modules['prefect_codepipeline.actions.registry'].providers()\n"
        "sys.modules['prefect_codepipeline.actions.rule_registry'].rule_providers()\n"
        "print([name for name in ('boto3', 'botocore', 's3transfer') if name in sys.modules])"
    )
    names = [name if name == "prefect_codepipeline" else f"prefect_codepipeline.{name}" for name in modules]
    ran = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True)

    assert (ran.stdout.strip(), ran.returncode) == ("[]", 0), ran.stderr


def test_public_names_can_be_had() -> None:
    for name in prefect_codepipeline.__all__:
        assert getattr(prefect_codepipeline, name)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_the_documents_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|data:|#)([^)#]+)", path.read_text()):
        assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_json_in_the_documents_is_json_and_pipelines_in_them_can_run(path: Path) -> None:
    from prefect_codepipeline.deployments.checking.runnable import check_runnable
    from prefect_codepipeline.deployments.files.definition import parse_definition

    for text in re.findall(r"```json\n(.*?)```", path.read_text(), re.DOTALL):
        content = json.loads(text)
        if "stages" in content.get("pipeline", content):
            problems = check_runnable(parse_definition(text))
            assert [str(problem) for problem in problems if problem.severity == "error"] == []
