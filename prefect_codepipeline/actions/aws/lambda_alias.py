"""Shift the traffic of a Lambda alias to another version: at once, or in steps over time.

https://docs.aws.amazon.com/lambda/latest/dg/configuring-alias-routing.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from math import ceil
from typing import Any

from prefect_codepipeline.actions.aws.alarms import read_alarms, state_of
from prefect_codepipeline.actions.aws.client import error_code, translated
from prefect_codepipeline.actions.aws.remote_work import Look
from prefect_codepipeline.errors import ActionFailed, wrong_configuration

MAX_MINUTES = 2 * 24 * 60
_CANARY = re.compile(r"Canary(\d{1,3})Percent(\d{1,5})Minutes")
_LINEAR = re.compile(r"Linear(\d{1,3})PercentEvery(\d{1,5})Minutes?")


@dataclass(frozen=True)
class Strategy:
    """The percentages of the new version, one after the other, and the minutes between them. The last one is 100."""

    percents: tuple[int, ...]
    minutes: int = 0

    def next_percent(self, percent: int) -> int:
        """The percentage that follows after this one."""
        return next(each for each in self.percents if each > percent)


def parse_strategy(text: str) -> Strategy:
    """The strategy of `AllAtOnce`, `Canary10Percent5Minutes` or `Linear10PercentEvery1Minute`.

    Raises:
        ActionFailed: with code `ConfigurationError`, the text has another form, or the strategy takes more than two days.
    """
    if text == "AllAtOnce":
        return Strategy((100,))
    canary = _CANARY.fullmatch(text)
    found = canary or _LINEAR.fullmatch(text)
    if found is None:
        raise wrong_configuration(
            f"DeployStrategy {text!r} is not AllAtOnce, Canary10Percent5Minutes or Linear10PercentEvery1Minute with "
            "numbers of your own"
        )
    percent, minutes = int(found[1]), int(found[2])
    if not 1 <= percent <= 99 or minutes < 1:
        raise wrong_configuration(
            f"DeployStrategy {text!r} must have 1 to 99 percent and at least one minute"
        )
    steps = 2 if canary else ceil(100 / percent)
    if (steps - 1) * minutes > MAX_MINUTES:
        raise wrong_configuration(
            f"DeployStrategy {text!r} waits for {(steps - 1) * minutes:,} minutes; the limit is two days, "
            f"{MAX_MINUTES:,} minutes"
        )
    return Strategy((*(percent * step for step in range(1, steps)), 100), minutes)


@dataclass(frozen=True)
class AliasState:
    """Where an alias leads: its version, and maybe a part of the traffic to one other version."""

    version: str
    other: str | None
    percent: int
    revision: str


@dataclass
class Shift:
    """The alias of a function, the version that it has, the one that it gets, and how.

    `stepped` is the time of the last step; it is given to `keep` before each step, so that a later process never does
    a step too early.
    """

    functions: Any
    alarms: Any
    function: str
    alias: str
    before: str
    version: str
    strategy: Strategy
    keep: Callable[[datetime], None]
    stepped: datetime | None = None
    alarm_names: Sequence[str] = ()

    def look(self) -> Look:
        """Do the step that is due, unless an alarm is on. Raises `ActionFailed` if the shift must end."""
        state = read_alias(self.functions, self.function, self.alias)
        if not self._is_ours(state):
            raise ActionFailed(
                f"alias {self.alias!r} of function {self.function!r} was changed by another user: it has version "
                f"{state.version}" + (f" and {state.percent} percent of {state.other}" if state.other else "")
            )
        percent = 100 if state.version == self.version else state.percent
        if percent < 100:
            check_alarms(self.alarms, self.alarm_names)
            percent = self._step(state)
        return Look(percent == 100, f"{percent} percent of {self.alias!r} on version {self.version}", percent)

    def _step(self, state: AliasState) -> int:
        """Do the next step if it is due; the percentage of the new version."""
        now, before = datetime.now(timezone.utc), self.stepped
        if before and now < before + timedelta(minutes=self.strategy.minutes):
            return state.percent
        percent = self.strategy.next_percent(state.percent)
        self.keep(now)
        self._set(percent, state.revision)
        self.stepped = now
        return percent

    def put_back(self) -> str:
        """Give the alias the version that it had, and return what was done."""
        state = read_alias(self.functions, self.function, self.alias)
        if not self._is_ours(state):
            return f"alias {self.alias!r} was changed by another user and stays as it is"
        self._update(self.before, {}, state.revision)
        return f"alias {self.alias!r} has version {self.before} again"

    def _is_ours(self, state: AliasState) -> bool:
        if state.version == self.version:
            return state.other is None
        return state.version == self.before and state.other in (None, self.version)

    def _set(self, percent: int, revision: str) -> None:
        if percent == 100:
            self._update(self.version, {}, revision)
        else:
            self._update(self.before, {self.version: percent / 100}, revision)

    def _update(self, version: str, weights: dict[str, float], revision: str) -> None:
        from botocore.exceptions import ClientError

        with translated(f"changing alias {self.alias!r} of function {self.function!r}"):
            try:
                self.functions.update_alias(
                    FunctionName=self.function,
                    Name=self.alias,
                    FunctionVersion=version,
                    RoutingConfig={"AdditionalVersionWeights": weights},
                    **({"RevisionId": revision} if revision else {}),
                )
            except ClientError as error:
                if error_code(error) != "PreconditionFailedException":
                    raise
                # The next look sees what has changed.
                raise ActionFailed(
                    f"alias {self.alias!r} was changed meanwhile", code="SystemUnavailable"
                ) from error


def read_alias(functions: Any, function: str, alias: str) -> AliasState:
    """Where the alias leads.

    Raises:
        ActionFailed: with code `ConfigurationError`, the alias does not exist.
    """
    from botocore.exceptions import ClientError

    with translated(f"reading alias {alias!r} of function {function!r}"):
        try:
            answer = functions.get_alias(FunctionName=function, Name=alias)
        except ClientError as error:
            if error_code(error) == "ResourceNotFoundException":
                raise wrong_configuration(
                    f"function {function!r} has no alias {alias!r} in region {functions.meta.region_name}; create it, or "
                    "correct FunctionAlias"
                ) from error
            raise
    weights = (answer.get("RoutingConfig") or {}).get("AdditionalVersionWeights") or {}
    other, weight = next(iter(weights.items()), (None, 0.0))
    return AliasState(answer["FunctionVersion"], other, round(100 * weight), answer.get("RevisionId", ""))


def check_alarms(alarms: Any, names: Sequence[str]) -> None:
    """Raise `ActionFailed` if an alarm is on or does not exist."""
    if not names:
        return
    for alarm in read_alarms(alarms, names, "correct Alarms").values():
        if alarm["StateValue"] == "ALARM":
            raise ActionFailed(state_of(alarm))
