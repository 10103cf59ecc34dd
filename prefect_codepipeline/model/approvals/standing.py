"""The status of an approval, and its text: the same words on a page, in Slack and at the terminal."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Literal

from prefect_codepipeline.model.record.artifacts import SourceRevision
from prefect_codepipeline.model.record.state import ActionState, ExecutionState

Standing = Literal["open", "approved", "rejected", "expired", "stopped"]
# For each git host: the URL of a commit page, and the URL that compares two commits.
_COMPARED = (
    (re.compile(r"(https?://.+)/-/commit/[0-9a-f]+"), "/-/compare/{old}...{new}"),
    (re.compile(r"(https?://.+)/commit/[0-9a-f]+"), "/compare/{old}...{new}"),
    (re.compile(r"(https?://.+)/commits/[0-9a-f]+"), "/branches/compare/{new}..{old}"),
)


@dataclass(frozen=True)
class Change:
    """The change in one source: the revision to release, and the revision of the last release.

    `before` is None if no release is known. `compare_url` is the page with the difference, if the host has one.
    """

    source: str
    revision: SourceRevision
    before: SourceRevision | None = None

    @property
    def is_new(self) -> bool:
        return self.before is not None and self.before.revision_id != self.revision.revision_id

    @property
    def compare_url(self) -> str | None:
        if not self.is_new or not self.revision.revision_url or self.before is None:
            return None
        for pattern, page in _COMPARED:
            if found := pattern.fullmatch(self.revision.revision_url):
                ids = {"old": self.before.revision_id, "new": self.revision.revision_id}
                return found[1] + page.format(**ids)
        return None


def changes_since(state: ExecutionState, released: ExecutionState | None) -> list[Change]:
    """The change in each source since the last release."""
    before = released.source_revisions if released else {}
    return [Change(name, revision, before.get(name)) for name, revision in state.source_revisions.items()]


def standing_of(asked: ActionState, state: ExecutionState, now: datetime) -> Standing:
    """The status of an approval at the time `now`; `state` is the state of its execution."""
    if asked.decision:
        return {"Approved": "approved", "Rejected": "rejected", "Expired": "expired"}[asked.decision.status]  # type: ignore[return-value]
    if asked.finished or state.final or state.stop:
        return "stopped"
    assert asked.request, "an approval was requested"
    return "expired" if now >= asked.request.expires_at else "open"


def sentence_of(asked: ActionState, state: ExecutionState, now: datetime) -> str:
    """One sentence: the decision, or why a decision is no longer possible, or until when the approval is open."""
    standing = standing_of(asked, state, now)
    if asked.decision and standing != "expired":
        comment = f": {asked.decision.summary}" if asked.decision.summary else ""
        return f"{asked.decision.status} by {asked.decision.by}, {_time(asked.decision.at)}{comment}"
    assert asked.request, "an approval was requested"
    if standing == "expired":
        return f"Expired at {_time(asked.request.expires_at)} without a decision, which counts as a rejection"
    if standing == "stopped":
        why = state.stop.summary if state.stop else asked.summary or state.summary
        return "The execution was stopped" + (f" by {why}" if why else "")
    return f"Open until {_time(asked.request.expires_at)}"


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(timezone.utc):%Y-%m-%d %H:%M} UTC"
