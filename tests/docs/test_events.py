"""The automation of docs/events.md can be created."""

from __future__ import annotations

import pytest
from pages import ROOT, blocks_of
from prefect.automations import Automation
from prefect.blocks.webhook import Webhook


@pytest.mark.live
@pytest.mark.usefixtures("prefect_server")
def test_the_automation_of_the_page_can_be_created() -> None:
    [code] = [text for language, text in blocks_of(ROOT / "docs" / "events.md") if language == "python"]
    Webhook(url="https://pager.example.com").save("pager")

    exec(compile(code, "docs/events.md", "exec"), {})

    automation = Automation.read(name="shop failed")
    assert automation.actions[0].type == "call-webhook"
    automation.delete()  # it would react to other tests
    Webhook.delete("pager")
