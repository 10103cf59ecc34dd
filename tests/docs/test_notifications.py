"""The settings and the receiver of docs/notifications.md work."""

from __future__ import annotations

import logging
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from uuid import UUID

import httpx
import pytest
import yaml
from pydantic import SecretStr

from prefect_codepipeline.blocks.event_webhook import EventWebhook
from prefect_codepipeline.blocks.pipeline_settings import PipelineSettings
from prefect_codepipeline.engine.notifications.event_webhooks import EventSender, signed
from prefect_codepipeline.engine.notifications.outbox import close_all
from prefect_codepipeline.model.record.events import StateChange
from prefect_codepipeline.model.record.notification_rules import EVENT_TYPES, NotificationRule

PAGE = (Path(__file__).parent.parent.parent / "docs" / "notifications.md").read_text(encoding="utf-8")
EVENT = StateChange(
    id=UUID(int=7),
    time=datetime(2026, 1, 2, tzinfo=timezone.utc),
    level="pipeline",
    state="FAILED",
    cause="c",
    detail={"pipeline": "shop", "execution-id": "x", "state": "FAILED"},
)


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[tuple[str, EventWebhook, subprocess.Popen[str]]]:
    """The URL of the page's receiver, the webhook that sends events to it, and its process."""
    [program] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "receiver.py").write_text(program)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    webhook = EventWebhook(url=f"http://127.0.0.1:{port}/", allows_private_addresses=True)
    env = {**os.environ, "PORT": str(port), "WEBHOOK_SECRET": webhook.secret.get_secret_value()}
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "receiver.py")], env=env, stdout=subprocess.PIPE, text=True
    ) as process:
        until = time.monotonic() + 20
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.05)
        yield webhook.url, webhook, process
        process.kill()


def test_the_receiver_accepts_only_signed_events(
    receiver: tuple[str, EventWebhook, subprocess.Popen[str]],
) -> None:
    url, webhook, process = receiver
    body = b'{"detail": {"state": "FORGED"}}'
    forged = signed(SecretStr("whsec_" + "A" * 32), "id", int(time.time()), body)
    stale = signed(webhook.secret, "id", int(time.time()) - 3600, body)
    assert [httpx.post(url, content=body, headers=headers).status_code for headers in (forged, stale)] == [
        401,
        401,
    ]

    rule = NotificationRule(event_types=("*",), event_webhook="audit")
    sender = EventSender(
        "audit", webhook, [rule], ("1", "r"), [], lambda fact: None, logging.getLogger("test")
    )
    sender.queue([EVENT])
    close_all([sender])

    assert process.stdout
    assert process.stdout.readline() == f"{EVENT.id} FAILED\n"


def test_the_settings_of_the_page_are_settings() -> None:
    [written] = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)

    settings = PipelineSettings.model_validate(yaml.safe_load(written))

    assert [rule.slack_channel or rule.event_webhook for rule in settings.notifications] == [
        "on-call", "approvers", "audit",
    ]  # fmt: skip


def test_the_page_lists_every_id() -> None:
    rows = [line for line in PAGE.splitlines() if re.search(r"-(execution-started|approval-needed)`", line)]
    listed = set()
    for row in rows:
        first, *others = re.findall(r"`([^`]+)`", row)
        base = first.rpartition("-")[0]
        listed |= {f"codepipeline-pipeline-{base}{end}" for end in (first.removeprefix(base), *others)}

    assert listed == set(EVENT_TYPES)
