"""docs/conditions.md: its examples work, and it names every rule type."""

from __future__ import annotations

import json
import re
from pathlib import Path

from rule_asker import Asker

from prefect_codepipeline.actions.rule_registry import RuleType, rule_providers
from prefect_codepipeline.deployments.checking.runnable_rules import check_rule
from prefect_codepipeline.model.definition.declaration import StageDeclaration

PAGE = (Path(__file__).parent.parent.parent / "docs" / "conditions.md").read_text()


def code(language: str) -> str:
    (block,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(block)


def test_the_example_stage_can_run() -> None:
    stage = StageDeclaration.model_validate(json.loads(code("json")))
    rules = [
        rule
        for conditions in (stage.before_entry, stage.on_success)
        for condition in (conditions.conditions if conditions else [])
        for rule in condition.rules or []
    ]

    assert len(rules) == 3
    assert [str(problem) for rule in rules for problem in check_rule(rule, rule.name)] == []


def test_the_table_names_every_rule_type_and_its_limits() -> None:
    rows = re.findall(r"^\| `(Rule/[^`]+)` \| [^|]+ \| (\S+) \| ([^|]+) \|$", PAGE, re.MULTILINE)
    expected = []
    for provider in rule_providers().values():
        if provider.rule_type.provider in ("Scripted", "ChangeTicket"):
            continue
        least, most = provider.inputs
        limit = (
            "its `WaitTime`"
            if provider.timeout_in_minutes == 86_400
            else f"{provider.timeout_in_minutes} min"
        )
        expected.append((str(provider.rule_type), str(most) if least == most else f"{least}-{most}", limit))

    assert sorted(rows) == sorted(expected)


def test_the_rule_of_ones_own_works(tmp_path: Path) -> None:
    asker = Asker(tmp_path)
    exec(compile(code("python"), "docs/conditions.md", "exec"), {"__name__": "change_ticket"})
    assert RuleType("Custom", "ChangeTicket", "1") in rule_providers()

    wait = asker.ask("ChangeTicket", {"Ticket": "NEW-1"}, owner="Custom")
    answer = asker.ask("ChangeTicket", {"Ticket": "APPROVED-1"}, owner="Custom")

    assert wait.summary == "NEW-1 is not approved yet"
    assert answer.status == "Succeeded"
