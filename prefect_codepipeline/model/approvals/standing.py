"""How an approval stands, and what to say about it: the same words on a page, in Slack and at the terminal."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Literal

from prefect_codepipeline.model.record.artifacts import SourceRevision
from prefect_codepipeline.model.record.state import ActionState, ExecutionState

Standing = Literal["open", "approved", "rejected", "expired", "stopped"]
# The page of a commit, and that of two compared, as the hosts spell them.
_COMPARED = (
    (re.compile(r"(https?://.+)/-/commit/[0-9a-f]+"), "/-/compare/{old}...{new}"),
    (re.compile(r"(https?://.+)/commit/[0-9a-f]+"), "/compare/{old}...{new}"),
    (re.compile(r"(https?://.+)/commits/[0-9a-f]+"), "/branches/compare/{new}..{old}"),
)


@dataclass(frozen=True)
class Change:
    """What one source brings: the revision that is to be released, and the one that the last release had.

    `before` is None where no release is known; `compare_url` shows the difference, where the host has a page for it.
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
    """What every source brings, beside what the last release had of it."""
    before = released.source_revisions if released else {}
    return [Change(name, revision, before.get(name)) for name, revision in state.source_revisions.items()]


def standing_of(asked: ActionState, state: ExecutionState, now: datetime) -> Standing:
    """How an approval stands at that time; `state` is of its execution."""
    if asked.decision:
        return {"Approved": "approved", "Rejected": "rejected", "Expired": "expired"}[asked.decision.status]  # type: ignore[return-value]
    if asked.finished or state.final or state.stop:
        return "stopped"
    assert asked.request, "an approval was asked for"
    return "expired" if now >= asked.request.expires_at else "open"


def sentence_of(asked: ActionState, state: ExecutionState, now: datetime) -> str:
    """Who decided what and when, why nobody can any more, or until when it is open."""
    standing = standing_of(asked, state, now)
    if asked.decision and standing != "expired":
        comment = f": {asked.decision.summary}" if asked.decision.summary else ""
        return f"{asked.decision.status} by {asked.decision.by}, {_time(asked.decision.at)}{comment}"
    assert asked.request, "an approval was asked for"
    if standing == "expired":
        return f"Expired at {_time(asked.request.expires_at)}: nobody decided in time, which counts as a rejection"
    if standing == "stopped":
        why = state.stop.summary if state.stop else asked.summary or state.summary
        return "The execution was stopped" + (f" by {why}" if why else "")
    return f"Open until {_time(asked.request.expires_at)}"


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(timezone.utc):%Y-%m-%d %H:%M} UTC"
