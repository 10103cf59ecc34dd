"""A short form of `make fuzz`: no changed file causes a traceback."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from api_fuzz import SECRET, send_requests
from fuzz import attempt, changed, seeds
from serving import taking_webhooks
from webhook_fuzz import payloads, run_payloads, send_payloads

SEEDS = seeds()


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(range(len(SEEDS))), st.integers(0, 2**32))
def test_no_changed_file_causes_a_traceback(which: int, seed: int) -> None:
    attempt(changed(SEEDS[which], random.Random(seed)))


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: seed.name)
def test_the_original_files_are_valid(seed: object) -> None:
    assert getattr(seed, "content", None)


def test_no_changed_webhook_causes_a_traceback() -> None:
    results = run_payloads(2000, 1)

    assert min(results["events"], results["ignored"], results["refused"]) > 50, results


def test_the_original_webhooks_are_read() -> None:
    assert len(payloads()) > 15


@pytest.mark.live
@pytest.mark.long
def test_a_gateway_answers_no_changed_webhook_with_an_internal_error(prefect_server: str) -> None:
    with taking_webhooks("planted-secret-of-fuzz") as (url, name):
        statuses = send_payloads(300, 1, url, name, "planted-secret-of-fuzz")

    assert min(statuses[status] for status in ("200", "202", "400")) > 20, statuses


@pytest.mark.live
@pytest.mark.long
def test_the_aws_api_answers_no_broken_request_with_an_internal_error(
    prefect_server: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "codepipeline.gateway")
    with taking_webhooks("planted-secret-of-fuzz") as (url, _):
        results = send_requests(300, 1, url, f"fuzz-{uuid4().hex[:8]}")

    assert min(results[name] for name in ("OK", "ValidationException", "SerializationException")) > 10, (
        results
    )
    assert len(results) > 12, results
    assert "POST / GetPipeline" in caplog.text
    assert SECRET not in caplog.text
