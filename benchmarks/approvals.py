"""An approval in Slack: the time until the dialog opens, until the message shows the decision, until the pipeline continues.

    python benchmarks/approvals.py [--approvals 20]

Slack is replaced by a server on loopback with its Web API, so the time of the network to Slack must be added. The executions
are suspended and approved one after another, with the embedded server, its worker and its gateway.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import httpx
from bench_setup import leave, set_up

NAME = "releases"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--approvals", type=int, default=20)
    count = parser.parse_args().approvals
    with set_up():
        from slack_server import SlackServer

        from prefect_codepipeline.deployments.local import embedded

        url = embedded.up(gateway=True).gateway_url
        assert url
        slack = SlackServer()
        _prepare(slack)
        for title, took in _measure(f"{url}/slack/interactions", slack, count).items():
            took.sort()
            print(
                f"{title:45} median {1000 * statistics.median(took):5.0f} ms, slowest {1000 * took[-1]:5.0f} ms"
            )
    leave()


def _measure(url: str, slack: Any, count: int) -> dict[str, list[float]]:
    from slack_server import signed
    from waiting import until

    from prefect_codepipeline.deployments.create import start_pipeline_execution
    from prefect_codepipeline.engine.executions.lookup import read_execution

    took: dict[str, list[float]] = {}

    def measure(title: str, payload: dict[str, Any], condition: Callable[[], Any]) -> None:
        start = time.perf_counter()
        httpx.post(url, timeout=60, **signed(payload)).raise_for_status()
        until(condition)
        took.setdefault(title, []).append(time.perf_counter() - start)

    for _ in range(count):
        slack.dialogs.clear()
        execution_id = start_pipeline_execution(NAME, {}, {}, "bench")
        until(lambda known=execution_id: read_execution(known).is_suspended)
        # Its process may still be sending the message.
        ts, button = until(lambda: _asked(slack))
        measure("press to dialog", slack.press("U01", button), lambda: slack.dialogs)
        measure(
            "dialog sent to message with the decision",
            slack.submit("U01", "go"),
            lambda sent=ts: "Approved by" in str(slack.messages[sent]),
        )
        decided = time.perf_counter()
        until(lambda known=execution_id: read_execution(known).run["state_type"] == "COMPLETED")
        took.setdefault("from there to the execution's end", []).append(time.perf_counter() - decided)
    return took


def _asked(slack: Any) -> tuple[str, dict[str, Any]] | None:
    """The id of the message that has buttons, and its Approve button."""
    found = ((ts, slack.buttons(ts).get("Approve")) for ts in list(slack.messages))
    return next(((ts, button) for ts, button in found if button), None)


def _prepare(slack: Any) -> None:
    from slack_server import SIGNING_SECRET, TOKEN

    from prefect_codepipeline.blocks.pipeline_settings import PipelineSettings
    from prefect_codepipeline.blocks.slack_channel import SlackChannel
    from prefect_codepipeline.deployments.create import deploy_pipeline
    from prefect_codepipeline.deployments.files.settings import save_settings
    from prefect_codepipeline.model.definition.declaration import PipelineDeclaration

    SlackChannel(bot_token=TOKEN, channel="C0BENCH", api_url=slack.url, signing_secret=SIGNING_SECRET).save(
        NAME, overwrite=True
    )

    def stage(name: str, category: str, owner: str, provider: str) -> dict[str, Any]:
        kind = {"category": category, "owner": owner, "provider": provider, "version": "1"}
        return {"name": name, "actions": [{"name": name, "actionTypeId": kind}]}

    deploy_pipeline(
        PipelineDeclaration.model_validate(
            {
                "name": NAME,
                "roleArn": "arn:aws:iam::111122223333:role/pipeline",
                "artifactStore": {"type": "S3", "location": "bench"},
                "pipelineType": "V2",
                "stages": [
                    stage("Source", "Source", "Custom", "Scripted"),
                    stage("Release", "Approval", "AWS", "Manual"),
                ],
            }
        )
    )
    save_settings(NAME, PipelineSettings(slack_channel=NAME))


if __name__ == "__main__":
    main()
