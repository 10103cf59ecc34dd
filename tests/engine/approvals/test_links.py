"""A link decides one approval for one purpose, and nobody without the key can make one."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from uuid import uuid4

import pytest
from pydantic import SecretStr, ValidationError

from prefect_codepipeline.blocks.gateway import Gateway
from prefect_codepipeline.engine.approvals.links import approval_link, check, sign
from prefect_codepipeline.errors import InvalidApprovalTokenException
from prefect_codepipeline.model.approvals.target import ApprovalTarget, Purpose

GATEWAY = Gateway(url="https://release.example.com/")
EXPIRES = datetime(2026, 5, 6, 7, 8, 9, tzinfo=timezone.utc)
TARGET = ApprovalTarget(str(uuid4()), str(uuid4()), EXPIRES)


@pytest.mark.parametrize("recipient", ["", "ana@example.com", "zoë@example.com"])
def test_a_link_leads_back_to_what_it_was_made_for(recipient: str) -> None:
    link = approval_link(GATEWAY, TARGET.execution_id, TARGET.token, EXPIRES, recipient)

    assert link
    assert link.startswith("https://release.example.com/approvals/")
    found = check(GATEWAY, link.rpartition("/")[2], "approval-link", "personal-link")
    assert (found.execution_id, found.token) == (TARGET.execution_id, TARGET.token)
    assert found.recipient == recipient
    assert timedelta(0) <= found.expires_at - EXPIRES <= timedelta(seconds=1)


@pytest.mark.parametrize(
    ("signed_for", "used_for"),
    [
        ("approval-link", "slack-button"),
        ("slack-button", "approval-link"),
        ("approval-link", "personal-link"),
        ("form", "approval-link"),
    ],
)
def test_what_was_signed_for_one_purpose_is_worth_nothing_for_another(
    signed_for: Purpose, used_for: Purpose
) -> None:
    with pytest.raises(InvalidApprovalTokenException):
        check(GATEWAY, sign(GATEWAY, TARGET, signed_for), used_for)


def test_no_changed_character_passes() -> None:
    good = sign(GATEWAY, TARGET, "approval-link")

    for place in range(len(good)):
        changed = good[:place] + ("A" if good[place] != "A" else "B") + good[place + 1 :]
        with pytest.raises(InvalidApprovalTokenException):
            check(GATEWAY, changed, "approval-link")


@pytest.mark.parametrize("text", ["", ".", "a.b", "é" * 9, "x" * 100_000, "../../etc", "%00"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidApprovalTokenException):
        check(GATEWAY, text, "approval-link")


def test_a_former_key_checks_and_does_not_sign() -> None:
    changed = Gateway(former_link_key=GATEWAY.link_key)

    assert check(changed, sign(GATEWAY, TARGET, "approval-link"), "approval-link")
    with pytest.raises(InvalidApprovalTokenException):
        check(GATEWAY, sign(changed, TARGET, "approval-link"), "approval-link")


def test_without_an_address_there_is_no_link() -> None:
    assert approval_link(Gateway(), TARGET.execution_id, TARGET.token, EXPIRES) is None


@pytest.mark.parametrize(
    "fields", [{"link_key": "short-secret"}, {"url": "ftp://x"}, {"url": "https://u:pw@example.com"}]
)
def test_a_block_that_would_be_unsafe_is_refused_without_quoting_it(fields: dict[str, str]) -> None:
    with pytest.raises(ValidationError) as refused:
        Gateway(**fields)

    assert not any(value in str(refused.value) for value in fields.values())


def test_every_block_has_a_key_of_its_own() -> None:
    assert isinstance(GATEWAY.link_key, SecretStr)
    assert GATEWAY.link_key != Gateway().link_key
