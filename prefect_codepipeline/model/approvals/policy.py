"""Who may approve, how many approvals are needed, and when they count. AWS leaves this to IAM.

Without a policy the first answer of any user decides. An approval is refused if a required fact about the approver
is not known. Each refusal says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from prefect_codepipeline.model.approver import ANONYMOUS, Approver, api_user, is_same_person, local_part
from prefect_codepipeline.model.record.artifacts import SourceRevision
from prefect_codepipeline.model.record.facts import ApprovalVoted
from prefect_codepipeline.model.record.state import ExecutionState

Weekday = Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
_WEEK: tuple[Weekday, ...] = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
# For these trigger types, `trigger_detail` names the user who started the execution.
_STARTED_BY_A_PERSON = ("StartPipelineExecution", "ManualRollback")
EVERYWHERE = "*"

_ApproverName = Annotated[
    str,
    Field(
        pattern=r"^([UWS][A-Z0-9]{2,20}|[^\s@]+@[^\s@]+|arn:aws:iam::\d{12}:user/\S+)$",
        description="U…, W…, S…, an e-mail address, or the ARN of an access key's user.",
    ),
]


class OfficeHours(BaseModel):
    """When an approval counts; a rejection always counts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    days: tuple[Weekday, ...] = Field(_WEEK[:5], min_length=1, description="Days of the week.")
    begin: time = Field(time(9), description="Start of the office hours, such as '09:00'.")
    end: time = Field(time(17), description="End of the office hours, exclusive.")
    time_zone: str = Field("UTC", description="Name in the IANA time zone database, such as Europe/Berlin.")

    @field_validator("begin", "end", mode="before")
    @classmethod
    def _require_quotes(cls, value: object) -> object:
        # YAML reads 09:00 without quotes as a number.
        if isinstance(value, (int, float)):
            raise ValueError("write a time in quotes, such as '09:00'")
        return value

    @field_validator("time_zone")
    @classmethod
    def _check_time_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"there is no time zone {name!r}") from None
        return name

    @model_validator(mode="after")
    def _check_order(self) -> OfficeHours:
        if self.begin >= self.end:
            raise ValueError("begin must come before end")
        return self

    def has(self, moment: datetime) -> bool:
        """Whether the moment is within the office hours."""
        local = moment.astimezone(ZoneInfo(self.time_zone))
        return _WEEK[local.weekday()] in self.days and self.begin <= local.time() < self.end

    def __str__(self) -> str:
        return f"{', '.join(self.days)} {self.begin:%H:%M}-{self.end:%H:%M} {self.time_zone}"


class ApprovalPolicy(BaseModel):
    """The conditions that an answer to an approval must meet."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    approvers: tuple[_ApproverName, ...] = Field(
        (),
        description="Who may decide: ids of Slack users (U…) and groups (S…), e-mail addresses, ARNs of users of the "
        "AWS API; empty: all users.",
    )
    quorum: int = Field(1, ge=1, le=50, description="How many different people must approve.")
    not_who_started: bool = Field(False, description="The user who started the execution may not approve it.")
    not_who_committed: bool = Field(False, description="The authors of its commits may not approve it.")
    office_hours: OfficeHours | None = Field(None, description="When an approval counts; empty: always.")
    on_expiry: Literal["Reject", "Approve"] = Field(
        "Reject", description="The result if the approval expires without a decision; AWS rejects."
    )
    remind_minutes_before: int | None = Field(
        60, ge=1, description="Minutes before expiry at which Slack gets a reminder; null: no reminder."
    )

    @model_validator(mode="after")
    def _check_quorum(self) -> ApprovalPolicy:
        people = [name for name in self.approvers if not name.startswith("S") or "@" in name]
        if self.approvers and len(people) == len(self.approvers) < self.quorum:
            raise ValueError(f"a quorum of {self.quorum} is not possible with {len(people)} approvers")
        return self

    @property
    def asks_who(self) -> bool:
        """Whether an answer counts only if the approver is known."""
        return bool(self.approvers or self.quorum > 1 or self.not_who_started or self.not_who_committed)

    @property
    def groups(self) -> tuple[str, ...]:
        """The Slack groups among the approvers."""
        return tuple(name for name in self.approvers if name.startswith("S") and "@" not in name)


AWS_POLICY = ApprovalPolicy()


@dataclass(frozen=True)
class Verdict:
    """The result of an answer: `refused` for a `reason`, `counted` towards the quorum, or `decided`."""

    kind: Literal["refused", "counted", "decided"]
    reason: str = ""


def judge(
    policy: ApprovalPolicy,
    state: ExecutionState,
    votes: Sequence[ApprovalVoted],
    approver: Approver,
    status: Literal["Approved", "Rejected"],
    now: datetime,
) -> Verdict:
    """Evaluate the answer of one person, given the earlier votes.

    Args:
        policy: the policy of the approval.
        state: the execution that waits for the approval.
        votes: the earlier approvals, including those of this person.
        approver: the person who answers.
        status: the answer.
        now: the time of the answer.
    """
    if policy.asks_who and not approver.identity:
        return Verdict("refused", _needs_a_name(approver))
    if policy.approvers and not _is_listed(policy.approvers, approver):
        return Verdict("refused", f"{approver.label} is not one of the approvers of this action")
    if status == "Rejected":
        return Verdict("decided")
    if reason := _reason_against(policy, state, approver, now):
        return Verdict("refused", reason)
    if policy.quorum == 1:
        return Verdict("decided")
    others = [vote for vote in votes if vote.approver.identity != approver.identity]
    for vote in others:
        is_same = is_same_person(vote.approver, approver)
        if is_same is None:
            return Verdict("refused", _identity_unknown(approver, vote.approver))
        if is_same:
            return Verdict("refused", f"{vote.approver.label} has already approved and is the same person")
    if len(others) + 1 >= policy.quorum:
        return Verdict("decided")
    return Verdict("counted", f"{len(others) + 1} of {policy.quorum} required approvals given")


def is_fulfilled(policy: ApprovalPolicy, votes: Sequence[ApprovalVoted]) -> bool:
    """Whether the votes alone decide the approval: each vote was evaluated when it was given."""
    return policy.quorum > 1 and len({vote.approver.identity for vote in votes}) >= policy.quorum


def _needs_a_name(approver: Approver) -> str:
    if approver.via == "prefect":
        return "Prefect's form does not identify the user, and this approval needs a known approver; decide in Slack or with a personal link"
    if approver.via == "api":
        return "this approval needs a known approver, and a request without an access key does not identify the user; sign it"
    return "this approval needs a known approver, and this link was not created for one person; decide in Slack or with a personal link"


def _is_listed(names: Sequence[str], approver: Approver) -> bool:
    slack = {approver.slack_user, *approver.slack_groups} - {""}
    known = {approver.name} if approver.via == "api" else set()
    address = approver.address
    return any(name in slack | known or ("@" in name and name.casefold() == address) for name in names)


def _reason_against(
    policy: ApprovalPolicy, state: ExecutionState, approver: Approver, now: datetime
) -> str | None:
    if policy.not_who_started and (reason := _reason_if_starter(state, approver)):
        return reason
    if policy.not_who_committed:
        for revision in state.source_revisions.values():
            if reason := _reason_if_author(revision, approver):
                return reason
    if policy.office_hours and not policy.office_hours.has(now):
        return f"approvals count only in the office hours {policy.office_hours}"
    return None


def _reason_if_starter(state: ExecutionState, approver: Approver) -> str | None:
    pinned = state.pinned
    if pinned.trigger_type not in _STARTED_BY_A_PERSON or pinned.trigger_detail == "schedule":
        return None
    starter = pinned.trigger_detail
    user = api_user(starter)
    if user == ANONYMOUS:
        return "the user who started the execution may not approve it, and a request without an access key does not say who that was"
    if starter in ("", "Prefect"):
        return "the user who started the execution may not approve it, and Prefect's UI does not say who that was"
    if starter.casefold() in {approver.label.casefold(), approver.name.casefold(), approver.address}:
        return f"{approver.label} started the execution and may not approve it"
    if "@" not in starter and not user:
        return None
    if not approver.address:
        return f"{starter} started the execution and may not approve it; {_address_unknown(approver)}"
    if local_part(user or starter) == local_part(approver.address):
        return f"{approver.label} started the execution as {starter} and may not approve it"
    return None


def _reason_if_author(revision: SourceRevision, approver: Approver) -> str | None:
    author, email = revision.author or "", revision.author_email or ""
    if not author and not email:  # for example an object in S3
        return None
    commit = revision.revision_id[:12]
    if author and author.casefold() == approver.name.casefold():
        return f"{approver.label} wrote commit {commit} and may not approve it"
    if not approver.address:
        return f"the author of commit {commit} may not approve it; {_address_unknown(approver)}"
    is_local = approver.via in ("cli", "api") and local_part(email) == local_part(approver.address)
    if email and (email.casefold() == approver.address or is_local):
        return f"{approver.label} wrote commit {commit} and may not approve it"
    return None


def _identity_unknown(approver: Approver, other: Approver) -> str:
    unknown = other if approver.address else approver
    return (
        f"the approvers must be different people, and {other.label} has approved; {_address_unknown(unknown)}"
    )


def _address_unknown(approver: Approver) -> str:
    return f"the e-mail address of {approver.label} is not known (the Slack app needs the scope users:read.email)"
