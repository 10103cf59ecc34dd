"""Who may approve, as people write it down, and what each refusal says."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from prefect_codepipeline.model.approvals.policy import AWS_POLICY, ApprovalPolicy, is_fulfilled, judge
from prefect_codepipeline.model.approver import Approver
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.record.artifacts import SourceRevision
from prefect_codepipeline.model.record.facts import (
    ActionFinished,
    ActionStarted,
    ApprovalVoted,
    ExecutionPinned,
)
from prefect_codepipeline.model.record.folding import fold
from prefect_codepipeline.model.record.state import ExecutionState

MONDAY = datetime(2026, 5, 4, 10, 0, tzinfo=timezone.utc)
ANA = Approver(
    via="slack", name="Ana Lee", email="ana@example.com", slack_user="UANA", slack_groups=("SOPS",)
)
BOB = Approver(via="slack", name="Bob", email="bob@example.com", slack_user="UBOB")
EVE = Approver(via="slack", name="eve", slack_user="UEVE")  # Slack does not tell her address
CLEO = Approver(via="link", email="Cleo@Example.com")
ANA_BY_LINK = Approver(via="link", email="ana@example.com")
ANA_AT_HOME = Approver(via="cli", name="ana@laptop")
HOLDER = Approver(via="link", name="Ana Lee")
FORM = Approver(via="prefect")
ARN = "arn:aws:iam::123456789012:user/"
ANA_BY_KEY = Approver(via="api", name=f"{ARN}ana")
ANA_BY_MAIL_KEY = Approver(via="api", name=f"{ARN}ana@example.com")
UNSIGNED = Approver(via="api", name=f"{ARN}anonymous")


def state(
    started_by: str = "dan@laptop", trigger: Any = "StartPipelineExecution", **revision: Any
) -> ExecutionState:
    kind = {"category": "Source", "owner": "Custom", "provider": "P", "version": "1"}
    declaration = PipelineDeclaration.model_validate(
        {
            "name": "shop",
            "roleArn": "arn:aws:iam::111122223333:role/pipeline",
            "artifactStore": {"type": "S3", "location": "bucket"},
            "stages": [
                {"name": "Source", "actions": [{"name": "Src", "actionTypeId": kind}]},
                {"name": "Prod", "actions": [{"name": "Ok", "actionTypeId": kind}]},
            ],
        }
    )
    pinned = ExecutionPinned(
        at=MONDAY, pipeline_name="shop", pipeline_version=1, definition_id="d", variables={}, source_revisions={},
        trigger_type=trigger, trigger_detail=started_by,
    )  # fmt: skip
    identity: dict[str, Any] = {
        "at": MONDAY,
        "stage": "Source",
        "action": "Src",
        "attempt": 1,
        "action_execution_id": "i",
    }
    pinned_revision = SourceRevision(revision_id="c0ffee" * 6, **revision)
    facts = [
        pinned,
        ActionStarted(**identity),
        ActionFinished(**identity, status="Succeeded", source_revision=pinned_revision),
    ]
    folded = fold("x", declaration, facts)
    assert folded
    return folded


def policy(text: str) -> ApprovalPolicy:
    return ApprovalPolicy.model_validate(yaml.safe_load(text) or {})


def vote(approver: Approver) -> ApprovalVoted:
    return ApprovalVoted(at=MONDAY, token="t", approver=approver)


def ruled(
    text: str, approver: Approver, status: Any = "Approved", votes: tuple[Approver, ...] = (), at: datetime = MONDAY,
    of: ExecutionState | None = None,
) -> str:  # fmt: skip
    verdict = judge(policy(text), of or state(), [vote(each) for each in votes], approver, status, at)
    return f"{verdict.kind}: {verdict.reason}" if verdict.reason else verdict.kind


@pytest.mark.parametrize("approver", [ANA, EVE, CLEO, HOLDER, FORM, ANA_AT_HOME])
@pytest.mark.parametrize("status", ["Approved", "Rejected"])
def test_without_a_policy_anybodys_answer_decides(approver: Approver, status: Any) -> None:
    assert ruled("", approver, status) == "decided"
    assert not AWS_POLICY.asks_who


@pytest.mark.parametrize(
    ("approvers", "approver", "verdict"),
    [
        pytest.param("[UANA]", ANA, "decided", id="a Slack user"),
        pytest.param("[SOPS]", ANA, "decided", id="a member of a Slack group"),
        pytest.param("[ANA@example.com]", ANA, "decided", id="an address, that Slack knows"),
        pytest.param("[cleo@example.com]", CLEO, "decided", id="an address, by a personal link"),
        pytest.param("[ana@laptop]", ANA_AT_HOME, "decided", id="a user of a machine"),
        pytest.param(f"['{ARN}ana']", ANA_BY_KEY, "decided", id="an access key"),
        pytest.param("[ana@example.com]", ANA_BY_MAIL_KEY, "decided", id="an access key with an address"),
        pytest.param(
            f"['{ARN}bob']", ANA_BY_KEY, f"refused: {ARN}ana is not one of", id="another access key"
        ),
        pytest.param(
            f"['{ARN}anonymous']", UNSIGNED, "refused: this approval needs a known", id="no access key"
        ),
        pytest.param("[UANA, SOPS]", BOB, "refused: Bob (Slack) is not one of the approvers", id="another"),
        pytest.param("[SOPS]", CLEO, "refused: Cleo@Example.com (link) is not", id="an address in no group"),
        pytest.param("[ana@example.com]", ANA_AT_HOME, "refused: ana@laptop is not", id="another host"),
        pytest.param(
            "[ana@example.com]", HOLDER, "refused: this approval needs a known approver", id="a name typed in"
        ),
        pytest.param(
            "[ana@example.com]",
            FORM,
            "refused: Prefect's form does not identify the user",
            id="Prefect's form",
        ),
    ],
)
@pytest.mark.parametrize("status", ["Approved", "Rejected"])
def test_only_those_named_decide(approvers: str, approver: Approver, verdict: str, status: Any) -> None:
    assert ruled(f"approvers: {approvers}", approver, status).startswith(verdict)


@pytest.mark.parametrize(
    ("started_by", "approver", "verdict"),
    [
        pytest.param("dan@laptop", ANA, "decided", id="another"),
        pytest.param("ana@laptop", ANA, "refused: Ana Lee (Slack) started", id="the same name on a machine"),
        pytest.param("ana@laptop", ANA_AT_HOME, "refused: ana@laptop started", id="at the same terminal"),
        pytest.param("Ana Lee (Slack)", ANA, "refused: Ana Lee (Slack) started", id="from Slack"),
        pytest.param(
            "dan@laptop", EVE, "refused: dan@laptop started the execution and may", id="who cannot be told"
        ),
        pytest.param(
            "Prefect", ANA, "refused: the user who started", id="started in Prefect, which says nothing"
        ),
        pytest.param("schedule", EVE, "decided", id="nobody started it"),
        pytest.param(f"{ARN}ana", ANA_BY_KEY, f"refused: {ARN}ana started", id="by the same access key"),
        pytest.param(f"{ARN}ana", ANA, "refused: Ana Lee (Slack) started", id="by a key of the same name"),
        pytest.param(f"{ARN}ana", BOB, "decided", id="by the key of another"),
        pytest.param(
            f"{ARN}anonymous", BOB, "refused: the user who started", id="by a request without a key"
        ),
        pytest.param(
            "ana@laptop", ANA_BY_KEY, f"refused: {ARN}ana started", id="the same name on a machine, by a key"
        ),
    ],
)
def test_who_started_may_not_approve(started_by: str, approver: Approver, verdict: str) -> None:
    assert ruled("not_who_started: true", approver, of=state(started_by)).startswith(verdict)
    assert ruled("not_who_started: true", approver, "Rejected", of=state(started_by)) == "decided"
    assert ruled("not_who_started: true", approver, of=state(started_by, "WebhookV2")) == "decided"


@pytest.mark.parametrize(
    ("revision", "approver", "verdict"),
    [
        pytest.param({"author": "Dan", "author_email": "dan@x.org"}, ANA, "decided", id="another"),
        pytest.param(
            {"author_email": "Ana@Example.com"}, ANA, "refused: Ana Lee (Slack) wrote", id="address"
        ),
        pytest.param({"author": "ana lee"}, ANA, "refused: Ana Lee (Slack) wrote", id="name"),
        pytest.param({"author_email": "ana@x.org"}, ANA_AT_HOME, "refused: ana@laptop wrote", id="terminal"),
        pytest.param(
            {"author": "Dan"}, EVE, "refused: the author of commit c0ffeec0ffee", id="cannot be told"
        ),
        pytest.param({}, EVE, "decided", id="nobody committed it"),
    ],
)
def test_who_committed_may_not_approve(revision: dict[str, str], approver: Approver, verdict: str) -> None:
    assert ruled("not_who_committed: true", approver, of=state(**revision)).startswith(verdict)


@pytest.mark.parametrize(
    ("votes", "approver", "verdict"),
    [
        pytest.param((), ANA, "counted: 1 of 2", id="the first"),
        pytest.param((ANA,), BOB, "decided", id="the second"),
        pytest.param((ANA,), ANA, "counted: 1 of 2", id="the same again"),
        pytest.param(
            (ANA,), ANA_BY_LINK, "refused: Ana Lee (Slack) has already approved", id="the same by a link"
        ),
        pytest.param(
            (ANA,), ANA_AT_HOME, "refused: Ana Lee (Slack) has already approved", id="and at a terminal"
        ),
        pytest.param((ANA,), CLEO, "decided", id="another by a link"),
        pytest.param(
            (CLEO,),
            EVE,
            "refused: the approvers must be different people",
            id="who cannot be told from the first",
        ),
        pytest.param((ANA,), EVE, "decided", id="two users of Slack"),
        pytest.param((ANA,), FORM, "refused: Prefect's form", id="nobody in particular"),
    ],
)
def test_a_quorum_takes_different_people(
    votes: tuple[Approver, ...], approver: Approver, verdict: str
) -> None:
    assert ruled("quorum: 2", approver, votes=votes).startswith(verdict)


def test_one_rejection_ends_a_quorum() -> None:
    assert ruled("quorum: 3", BOB, "Rejected", votes=(ANA,)) == "decided"


def test_votes_alone_decide_only_where_they_were_asked_for() -> None:
    assert is_fulfilled(policy("quorum: 2"), [vote(ANA), vote(BOB)])
    assert not is_fulfilled(policy("quorum: 2"), [vote(ANA), vote(ANA)])
    assert not is_fulfilled(policy("quorum: 1"), [vote(ANA)])


BERLIN = "office_hours: {days: [Mon, Fri], begin: '09:00', end: '17:00', time_zone: Europe/Berlin}"


@pytest.mark.parametrize(
    ("at", "is_open"),
    [
        ("2026-05-04T07:00", True),  # 09:00 in summer
        ("2026-05-04T06:59", False),
        ("2026-05-04T14:59", True),
        ("2026-05-04T15:00", False),
        ("2026-01-05T07:30", False),  # 08:30 in winter
        ("2026-05-05T10:00", False),  # a Tuesday
        ("2026-05-08T10:00", True),
    ],
)
def test_approvals_count_in_office_hours_and_rejections_always(at: str, is_open: bool) -> None:
    moment = datetime.fromisoformat(at).replace(tzinfo=timezone.utc)

    found = ruled(BERLIN, ANA, at=moment)

    assert found == (
        "decided"
        if is_open
        else "refused: approvals count only in the office hours Mon, Fri 09:00-17:00 Europe/Berlin"
    )
    assert ruled(BERLIN, ANA, "Rejected", at=moment) == "decided"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("approvers: [ana]", "String should match"),
        ("quorum: 0", "greater than or equal to 1"),
        ("{approvers: [UANA], quorum: 2}", "a quorum of 2 is not possible with 1 approvers"),
        ("office_hours: {begin: '17:00', end: '09:00'}", "begin must come before end"),
        ("office_hours: {time_zone: Mars/Base}", "no time zone 'Mars/Base'"),
        ("office_hours: {end: 17:00}", "in quotes"),
        ("on_expiry: Ask", "'Reject' or 'Approve'"),
        ("quorom: 2", "Extra inputs"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        policy(text)
