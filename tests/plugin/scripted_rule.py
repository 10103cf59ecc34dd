"""`Rule/Custom/Scripted/1`: a rule ordered about by its own configuration."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from prefect_codepipeline.actions.rule_registry import (
    RuleConfiguration,
    RuleContext,
    RuleResult,
    WaitUntil,
    rule_provider,
)
from prefect_codepipeline.errors import ActionFailed


class ScriptedRuleConfiguration(RuleConfiguration):
    """`trace` gets a line for each asking; it waits until the file `until` is there; `fail_unless` must exist.

    `hold` is a file that is waited for within the asking, `abandoned` one that is made when it waits in vain.
    """

    trace: Path | None = None
    hold: Path | None = None
    until: Path | None = None
    wait_seconds: float = 5
    fail_unless: Path | None = None
    raise_error: str | None = None
    refuse: str | None = None
    secret: str | None = None
    abandoned: Path | None = None


def leave(memory: Mapping[str, str]) -> None:
    """Say that it was abandoned."""
    if "abandoned" in memory:
        Path(memory["abandoned"]).touch()


@rule_provider(provider="Scripted", owner="Custom", inputs=(0, 2), secrets=("Secret",), abandon=leave)
def ask(configuration: ScriptedRuleConfiguration, context: RuleContext) -> RuleResult | WaitUntil:
    """Behave as ordered."""
    times = int(context.memory.get("times", "0")) + 1
    if configuration.trace:
        with configuration.trace.open("a") as trace:
            trace.write(f"{context.pipeline_execution_id} {context.stage_name}/{context.rule.name} {times}\n")
    while configuration.hold and not configuration.hold.exists():
        context.check()
        context.cancellation.wait(0.02)
    if configuration.raise_error:
        raise RuntimeError(configuration.raise_error)
    if configuration.refuse:
        raise ActionFailed("refused as ordered", code=configuration.refuse, external_execution_id="x1")
    if configuration.until and not configuration.until.exists():
        at = context.now + timedelta(seconds=configuration.wait_seconds)
        memory = {"times": str(times)}
        if configuration.abandoned:
            memory["abandoned"] = str(configuration.abandoned)
        return WaitUntil(at, f"there is no {configuration.until.name}", memory, "x1")
    is_met = not configuration.fail_unless or configuration.fail_unless.exists()
    return RuleResult(
        "Succeeded" if is_met else "Failed", f"as ordered, asked {times} times", "x1", "http://x/1"
    )
