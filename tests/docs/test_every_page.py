"""All pages at once: their commands are accepted, their examples are valid, their links lead somewhere."""

from __future__ import annotations

import json
import os
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cyclopts.exceptions import CycloptsError, MissingArgumentError
from pages import PAGES, ROOT, blocks_of, commands_of, name_of, prose_of, spans_of
from prefect.settings import Settings
from prefect.settings.legacy import _get_settings_fields

from prefect_codepipeline.blocks.codedeploy_application import CodeDeployApplication
from prefect_codepipeline.blocks.pipeline_settings import PipelineSettings
from prefect_codepipeline.cli import _FAMILIES, _VERBS, app
from prefect_codepipeline.deployments.checking.files import check_file, check_wire
from prefect_codepipeline.deployments.files.resource_kinds import blocks_of as blocks_of_resources
from prefect_codepipeline.model.codedeploy.group import DeploymentGroup
from prefect_codepipeline.model.definition.declaration import PipelineTriggerDeclaration, StageDeclaration
from prefect_codepipeline.model.payloads import plain
from prefect_codepipeline.model.triggers.webhooks import WebhookDefinition

_VERB_NAMES = {verb for verbs in _VERBS.values() for verb in verbs} | set(_FAMILIES)


# -- commands


def refusal(words: list[str], is_whole: bool) -> str:
    """Why the command line refuses these words after `codepipeline`; empty if it takes them.

    Args:
        words: the words of a command.
        is_whole: whether arguments may be missing, as in a text that only names the command.
    """
    chain, _, rest = app.parse_commands(words)
    if not chain:
        return "no such command"
    if rest and not rest[0].startswith("-") and chain[-1] in _FAMILIES:
        return f"{chain[-1]} has no command {rest[0]}"
    if chain[-1] in _FAMILIES:
        return ""  # the text names the whole family
    try:
        app.parse_args(words, exit_on_error=False, print_error=False)
    except MissingArgumentError as error:
        return str(error) if is_whole else ""
    except CycloptsError as error:
        return str(error)
    return ""


def named_commands(page: Path) -> Iterator[list[str]]:
    """The commands that a text names in backticks, also without `codepipeline`, such as `up --port`."""
    for span in spans_of(page):
        try:
            words = shlex.split(re.sub(r"[\[\]…]", " ", span).split(" > ")[0], comments=True)
        except ValueError:
            continue
        is_ours = words[:1] == ["codepipeline"]
        if is_ours or (len(words) > 1 and words[0] in _VERB_NAMES and words[1].startswith("--")):
            yield words[1:] if is_ours else words


def test_every_command_is_accepted() -> None:
    refused, count = [], 0
    for page in PAGES:
        typed = [words[1:] for words in commands_of(page) if words[:1] == ["codepipeline"]]
        lines = [(words, True) for words in typed] + [(words, False) for words in named_commands(page)]
        count += len(lines)
        for words, is_whole in lines:
            if words and (why := refusal(words, is_whole)):
                refused.append(f"{name_of(page)}: codepipeline {' '.join(words)}: {why}")

    assert refused == []
    assert count > 150


def test_every_option_that_a_text_names_exists() -> None:
    options = {option for each in app_options() for option in each} | {"--help"}
    lost = [
        f"{name_of(page)}: {span}"
        for page in PAGES
        for span in spans_of(page)
        if (found := re.match(r"(--[a-z-]+)\b", span)) and found[1] not in options
    ]
    assert lost == []


def app_options() -> Iterator[set[str]]:
    """The options of each command."""
    for verbs in (*_VERBS.items(), *((family, verbs) for family, (_, verbs) in _FAMILIES.items())):
        for verb in verbs[1]:
            chain = [verbs[0], verb] if verbs[0] in _FAMILIES else [verb]
            command = app[chain[0]] if len(chain) == 1 else app[chain[0]][chain[1]]
            arguments = command.assemble_argument_collection()
            yield {name for argument in arguments for name in argument.names if name.startswith("--")}


def test_the_page_of_commands_has_each_command_and_what_its_json_has() -> None:
    rows = re.findall(
        r"^\| (`.*?) \| .*? \| (.*) \|$", (ROOT / "docs" / "commands.md").read_text(), re.MULTILINE
    )
    listed = [command for names, _ in rows for command in re.findall(r"`([^`]+)`", names)]
    families = [f"{family} {verb}" for family, (_, verbs) in _FAMILIES.items() for verb in verbs]
    assert sorted(listed) == sorted([verb for verbs in _VERBS.values() for verb in verbs] + families)

    code = "\n".join(sources().values())
    keys = {key for _, answer in rows for key in re.findall(r"`([a-z]\w+)`", answer)} - {"status"}
    assert [key for key in keys if not re.search(rf'"{key}"|^    {key}: ', code, re.MULTILINE)] == []


def test_every_command_that_a_message_names_exists() -> None:
    lost = [
        f"{name_of(path)}: codepipeline {words}"
        for path, text in sources().items()
        for words in re.findall(r"`codepipeline ([a-z][a-z-]*(?: [a-z-]+)?)\b", text)
        if not is_command(words.split())
    ]
    assert lost == []


def sources() -> dict[Path, str]:
    """The text of each file of the package."""
    folders = ("prefect_codepipeline", "flows", "tasks", "blocks", "deployments", "examples", ".ci")
    files = {path for each in folders for path in (ROOT / each).rglob("*") if path.is_file()}
    return {path: path.read_text() for path in files if path.suffix in (".py", ".html", "")}


def is_command(words: list[str]) -> bool:
    chain, _, rest = app.parse_commands(words)
    return bool(chain) and not (chain[-1] in _FAMILIES and rest)


def test_every_other_command_that_a_page_runs_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        for words in commands_of(page):
            if words[:1] == ["make"]:
                assert words[1] in targets, (name_of(page), words)
            if words and words[0].endswith("python") and words[1].endswith(".py"):
                assert (ROOT / words[1]).is_file(), (name_of(page), words)


# -- examples


def _check_pipeline(value: dict[str, Any]) -> None:
    assert [str(problem) for problem in check_wire(value.get("pipeline", value))] == []


def _check_settings(value: dict[str, Any]) -> None:
    PipelineSettings.model_validate(value)


def _check_resources(value: dict[str, Any]) -> None:
    for block in blocks_of_resources(value["resources"]):
        assert CodeDeployApplication(**(block.fields or {}))


def _check_group(value: dict[str, Any]) -> None:
    hosts = [{"name": "web-1", "address": "10.0.0.11"}]
    DeploymentGroup.model_validate({"name": "web", "hosts": hosts, **value})


# By a key that only this kind has. A kind without a check has its own test, or is another program's.
JSON_KINDS: dict[str, Callable[[Any], object] | None] = {
    "stages": _check_pipeline,
    "pipeline": _check_pipeline,
    "actions": StageDeclaration.model_validate,
    "providerType": PipelineTriggerDeclaration.model_validate,
    "webhook": lambda value: WebhookDefinition.model_validate(value["webhook"]),
    "repository": lambda value: plain.read({}, json.dumps(value).encode()),
    "detail-type": None,
    "Statement": None,
    "ProductVersionName": None,  # of Service Catalog
    "configurationProperties": None,  # tests/cli/setup/test_action_types.py
}
YAML_KINDS: dict[str, Callable[[Any], object] | None] = {
    "repos": None,  # of pre-commit
    "display_information": None,  # of Slack, as the next
    "settings": None,
    "defaults": _check_settings,
    "overrides": _check_settings,
    "slack_channel": _check_settings,
    "work_pool": _check_settings,
    "resources": _check_resources,
    "traffic": _check_group,
    "alarms": _check_group,
}


def examples(*languages: str) -> Iterator[Any]:
    for page in PAGES:
        for number, (language, text) in enumerate(blocks_of(page)):
            if language in languages:
                yield pytest.param(text, id=f"{name_of(page)}-{number}")


@pytest.mark.parametrize("text", list(examples("json")))
def test_json_is_valid(text: str) -> None:
    value = json.loads(text)
    [kind] = [kind for kind in JSON_KINDS if kind in value][:1]
    if check := JSON_KINDS[kind]:
        check(value)


@pytest.mark.parametrize("text", list(examples("yaml")))
def test_yaml_is_valid(text: str, tmp_path: Path) -> None:
    value = yaml.safe_load(text)
    if "phases" in value:
        (tmp_path / "buildspec.yml").write_text(text)
        assert check_file(tmp_path / "buildspec.yml").problems == ()
        return
    if "os" in value:
        (tmp_path / "appspec.yml").write_text(text)
        assert check_file(tmp_path / "appspec.yml").problems == ()
        return
    [kind] = [kind for kind in YAML_KINDS if kind in value][:1]
    if check := YAML_KINDS[kind]:
        check(value)


@pytest.mark.parametrize("text", list(examples("python")))
def test_python_compiles(text: str) -> None:
    compile(text, "example", "exec")


@pytest.mark.parametrize("text", list(examples("toml")))
def test_toml_is_valid(text: str) -> None:
    assert tomllib.loads(text)


# -- links and names


def test_every_link_leads_somewhere() -> None:
    links = [
        (page, target)
        for page in (*PAGES, ROOT / "CHANGELOG.md")
        for target in re.findall(r"\]\(([^)\s]+)\)", prose_of(page))
        if not re.match(r"[a-z]+:", target)
    ]
    assert [f"{name_of(page)}: {target}" for page, target in links if not leads(page, target)] == []
    assert len(links) > 100


def leads(page: Path, target: str) -> bool:
    """Whether the file of a link exists, and has its heading."""
    path, _, heading = target.partition("#")
    file = Path(os.path.normpath(page.parent / path)) if path else page
    return file.exists() and (not heading or heading in headings(file))


def headings(page: Path) -> set[str]:
    """The anchors of the headings, as GitHub makes them."""
    texts = re.findall(r"^#+ (.*)$", prose_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in texts}


def test_every_environment_variable_is_read() -> None:
    """Ours by this code or by what is in `deploy`, the others by Prefect."""
    deploy = [path for path in (ROOT / "deploy").iterdir() if path.name in ("compose.yaml", "entrypoint")]
    code = "\n".join(sources().values())
    of_deploy = {name for path in deploy for name in re.findall(r"\bPREFECT_[A-Z_]+\b", path.read_text())}
    # The key is no setting: Prefect reads it where it encrypts.
    prefects = {*_get_settings_fields(Settings), "PREFECT_SERVER_ENCRYPTION_KEY"}
    named = {
        (name_of(page), name)
        for page in PAGES
        for name in re.findall(r"\bPREFECT_[A-Z_]+\b", page.read_text())
    }
    unread = [each for each in named if each[1] not in prefects and f'"{each[1]}"' not in code]
    assert [each for each in unread if each[1] not in of_deploy] == []
