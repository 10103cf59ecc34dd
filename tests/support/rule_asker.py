"""Evaluate a rule as the engine does, and collect its log lines."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

from prefect_codepipeline.actions.work import CancellationToken, InputTree
from prefect_codepipeline.model.definition.action_settings import ActionSettings
from prefect_codepipeline.model.definition.conditions import RuleOutcome, RuleWait
from prefect_codepipeline.model.definition.declaration import RuleDeclaration
from prefect_codepipeline.tasks.rule import RulePlace, RuleQuestion, run_rule


class Asker:
    """Evaluates the rules of one execution. `clock` is the time of the first evaluation; `ask_again` moves to the wait's end."""

    def __init__(self, artifacts: Path) -> None:
        self.clock = datetime(2024, 7, 1, 12, 0, tzinfo=timezone.utc)  # a Monday
        self.namespaces = {"codepipeline": {"PipelineExecutionId": "e1"}, "Source": {"BranchName": "main"}}
        self.cancellation = CancellationToken()
        self.settings = ActionSettings(run_on="host")
        self.lines: list[str] = []
        self.files: dict[str, str] = {}
        self.artifacts = artifacts
        self._question: RuleQuestion | None = None
        self._wait: RuleWait | None = None

    def ask(
        self,
        provider: str,
        configuration: dict[str, str] | None = None,
        owner: str = "AWS",
        condition: Any = "beforeEntry",
        rule_execution_id: str = "r1",
        late: timedelta = timedelta(),
        **fields: Any,
    ) -> RuleOutcome | RuleWait:
        """Evaluate a rule at `late` after `clock`, the time of its first evaluation."""
        rule = {
            "name": "Check",
            "ruleTypeId": {"category": "Rule", "owner": owner, "provider": provider, "version": "1"},
            "configuration": configuration,
            **fields,
        }
        declared = RuleDeclaration.model_validate(rule)
        question = RuleQuestion(
            "Deploy", condition, declared, rule_execution_id, self.clock, self.clock + late
        )
        return self._ask(question)

    def ask_again(self, after: timedelta | None = None) -> RuleOutcome | RuleWait:
        """Evaluate the rule again at the end of its last wait, or `after` this time since its last evaluation."""
        assert self._question, "ask first"
        assert self._wait, "the rule has answered already"
        now = self._question.now + after if after else self._wait.at
        return self._ask(self._question.again(self._wait, now))

    def last_answer(self, most: int = 100) -> RuleOutcome:
        """Evaluate the rule until it no longer waits; return its outcome."""
        for _ in range(most):
            answer = self.ask_again()
            if isinstance(answer, RuleOutcome):
                return answer
        raise AssertionError(f"the rule still waits after {most} evaluations")

    def _ask(self, question: RuleQuestion) -> RuleOutcome | RuleWait:
        logger = logging.Logger("rule", logging.INFO)
        logger.addFilter(lambda record: bool(self.lines.append(record.getMessage())))
        place = RulePlace(
            "release", "e1", self.namespaces, self._find, self.settings, self.cancellation, logger
        )
        answer = run_rule(question, place)
        self._question = replace(question)
        self._wait = answer if isinstance(answer, RuleWait) else None
        return answer

    def _find(self, name: str, directory: Path) -> Callable[[], InputTree]:
        return partial(self._fetch, name, directory)

    def _fetch(self, name: str, directory: Path) -> InputTree:
        for file, content in {"name.txt": name, **self.files}.items():
            (directory / file).write_text(content)
        return InputTree(name, directory, revision_id="abc")
