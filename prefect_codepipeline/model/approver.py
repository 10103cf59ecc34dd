"""The person who answers an approval, as far as the channel of the answer identifies them."""

from __future__ import annotations

from typing import Literal

from prefect_codepipeline.model.records import Record


class Approver(Record):
    """The person who approves or rejects.

    `via`: `slack` (Slack identifies the user), `link` (any holder of the link; `email` is set if the link was created
    for one person), `cli` (`name` is `user@host`), `prefect` (Prefect's form, which does not identify the user),
    `codepipeline` (a rule decided, not a person). `name` is the display name; for a link holder, the name they typed.
    """

    via: Literal["slack", "link", "cli", "prefect", "codepipeline"]
    name: str = ""
    email: str = ""
    slack_user: str = ""
    slack_groups: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The name that is displayed with the decision."""
        if self.via == "slack":
            return f"{self.name or self.slack_user} (Slack)"
        if self.via == "prefect":
            return "Prefect UI or API"
        if self.via == "link":
            return f"{self.email} (link)" if self.email else f"link holder {self.name!r}".removesuffix(" ''")
        return self.name

    @property
    def address(self) -> str:
        """The address that identifies this person across Slack and links; empty if it is not known."""
        return (self.name if self.via == "cli" else self.email).casefold()

    @property
    def identity(self) -> str:
        """The key by which votes of one person are counted once; empty if the person is not known."""
        return f"slack:{self.slack_user}" if self.slack_user else self.address and f"mail:{self.address}"


def is_same_person(one: Approver, other: Approver) -> bool | None:
    """Whether two approvers are the same person; None if this cannot be determined."""
    if one.slack_user and other.slack_user:
        return one.slack_user == other.slack_user
    if not one.address or not other.address:
        return None
    if "cli" in (one.via, other.via):  # `user@host`: a host name is not a mail domain
        return local_part(one.address) == local_part(other.address)
    return one.address == other.address


def local_part(address: str) -> str:
    """The part of an address before the @."""
    return address.partition("@")[0].casefold()
