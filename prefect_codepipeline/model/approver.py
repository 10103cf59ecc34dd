"""Who answers an approval, as far as the way by which the answer came says it."""

from __future__ import annotations

from typing import Literal

from prefect_codepipeline.model.records import Record


class Approver(Record):
    """One who approves or rejects.

    `via`: `slack` (Slack vouches for the user), `link` (whoever has the link; `email` when it was made for one person),
    `cli` (`name` is `user@host`), `prefect` (Prefect's form, which does not say who), `codepipeline` (nobody: a rule).
    `name` is how people know them; of a link holder, what they typed in.
    """

    via: Literal["slack", "link", "cli", "prefect", "codepipeline"]
    name: str = ""
    email: str = ""
    slack_user: str = ""
    slack_groups: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """As it is shown wherever the decision is."""
        if self.via == "slack":
            return f"{self.name or self.slack_user} (Slack)"
        if self.via == "prefect":
            return "Prefect UI or API"
        if self.via == "link":
            return f"{self.email} (link)" if self.email else f"link holder {self.name!r}".removesuffix(" ''")
        return self.name

    @property
    def address(self) -> str:
        """What tells this person from others, across Slack and links: an address, where one is known."""
        return (self.name if self.via == "cli" else self.email).casefold()

    @property
    def identity(self) -> str:
        """What makes a voter one; empty when it is not known who this is."""
        return f"slack:{self.slack_user}" if self.slack_user else self.address and f"mail:{self.address}"


def is_same_person(one: Approver, other: Approver) -> bool | None:
    """Whether two are one person; None when that cannot be told."""
    if one.slack_user and other.slack_user:
        return one.slack_user == other.slack_user
    if not one.address or not other.address:
        return None
    if "cli" in (one.via, other.via):  # a machine's name is no domain
        return local_part(one.address) == local_part(other.address)
    return one.address == other.address


def local_part(address: str) -> str:
    """What stands before the @."""
    return address.partition("@")[0].casefold()
