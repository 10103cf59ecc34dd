"""The commands have one shape: the same verbs for all blocks, and JSON wherever there is an answer."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from prefect_codepipeline.cli import _FAMILIES, _VERBS
from prefect_codepipeline.cli.output import answer

# They print a schema or a script, have the output of a shell, or serve until they are stopped.
WITHOUT_JSON = {"schema", "completion", "shell", "gateway", "reconcile", "work"}
# What these print has several formats; JSON is one of them.
WITH_FORMATS = {"validate", "export"}
BLOCKS = ("connection", "slack", "secret", "event-webhook", "webhook", "schedule")


def functions() -> Iterator[tuple[str, Any]]:
    for verbs in [*_VERBS.values(), *(verbs for _, verbs in _FAMILIES.values())]:
        for verb, (place, _) in verbs.items():
            module, _, name = place.partition(":")
            yield verb, getattr(import_module(f"prefect_codepipeline.cli.{module}"), name)


def test_every_command_that_answers_takes_json() -> None:
    parameters = {verb: inspect.signature(function).parameters for verb, function in functions()}
    without = {verb for verb, known in parameters.items() if "json" not in known}

    assert without == WITHOUT_JSON | WITH_FORMATS
    assert [verb for verb in WITH_FORMATS if "format" not in parameters[verb]] == []


@pytest.mark.parametrize("family", BLOCKS)
def test_blocks_have_the_same_verbs(family: str) -> None:
    assert {"add", "list", "show", "remove"} <= _FAMILIES[family][1].keys()


def test_one_word_for_one_thing() -> None:
    """`webhook` is AWS's, `event-webhook` sends, and a connection receives `pushes`."""
    assert "webhook" not in _FAMILIES["connection"][1]
    assert [family for family in _FAMILIES if "webhook" in family] == ["webhook", "event-webhook"]


def test_an_answer_is_for_people_or_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    answer(False, {"a": 1}, "one", "two\x1b[31m")
    answer(True, {"a": 1}, "one")

    people, _, programs = capsys.readouterr().out.partition("{")
    assert people == "one\ntwo\N{REPLACEMENT CHARACTER}[31m\n"
    assert json.loads("{" + programs) == {"a": 1}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_the_commands(shell: str) -> None:
    command = [sys.executable, "-c", "from prefect_codepipeline.cli import main; main()", "completion", shell]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)

    assert done.returncode == 0, done.stderr
    assert "event-webhook" in done.stdout
    assert "--exit-status" in done.stdout or "exit-status" in done.stdout
    if shell == "bash":
        assert subprocess.run(["bash", "-n"], input=done.stdout, text=True, check=False).returncode == 0


@pytest.mark.long
@pytest.mark.live
def test_blocks_are_listed_shown_and_removed_without_their_secrets(world: Any) -> None:
    name = f"b-{uuid4().hex[:6]}"
    url = "https://hooks.example.com/services/planted-path"
    added = {
        "connection": ["--url", "https://git.example.com/{FullRepositoryId}.git", "--token-stdin"],
        "slack": ["--channel", "C1", "--token-stdin"],
        "secret": ["--value-stdin"],
        "event-webhook": ["--url", url, "--secret-stdin"],
    }
    printed = ""
    for family, more in added.items():
        secret = (
            "whsec_" + "cGxhbnRlZC1zZWNyZXQtcGxhbnRlZC1zZWNyZXQ="
            if family == "event-webhook"
            else "xoxb-planted"
        )
        done = world.cli(family, "add", name, *more, "--json", input=f"{secret}\n")
        assert json.loads(done.stdout)["name"] == name, done.stderr
        listed, shown = world.cli(family, "list"), world.json(family, "show", name)
        assert name in listed.stdout
        assert shown["name"] == name
        assert name in [each["name"] for each in world.json(family, "list")]
        text = world.cli(family, "show", name).stdout
        misspelt = world.cli(family, "remove", f"{name}x")
        assert (misspelt.returncode, f"did you mean {name!r}?" in misspelt.stderr) == (1, True)
        removed = world.json(family, "remove", name)
        assert removed == {"name": name, "removed": True}
        assert world.cli(family, "show", name).returncode == 1
        printed += done.stdout + listed.stdout + json.dumps(shown) + text
    assert "planted" not in printed
    assert "cGxhbnRlZC" not in printed
    assert "https://hooks.example.com/…" in printed


@pytest.mark.long
@pytest.mark.live
def test_run_answers_for_programs_on_the_configured_server(world: Any, tmp_path: Path) -> None:
    declared = world.declare([world.action("Ok", category="Approval")])
    (tmp_path / "p.json").write_text(json.dumps(declared.to_wire()))

    done = world.cli("run", str(tmp_path / "p.json"), "--approve", "--json")

    answer = json.loads(done.stdout)
    assert (done.returncode, answer["status"], answer["pipelineName"]) == (0, "Succeeded", world.name)
    assert "execution" in done.stderr
