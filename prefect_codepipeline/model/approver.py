"""The person who answers an approval, as far as the channel of the answer identifies them."""

from __future__ import annotations

import re
from typing import Literal

from prefect_codepipeline.model.records import Record

# Who asks the AWS API without an access key, which is possible on a loopback address.
ANONYMOUS = "anonymous"
_USER_ARN = re.compile(r"arn:aws:iam::\d{12}:user/(.+)")


def api_user(arn: str) -> str | None:
    """The name of the access key in the ARN of its user, or None if the text is no such ARN.

    Example:
        >>> api_user("arn:aws:iam::123456789012:user/ana")
        'ana'
    """
    found = _USER_ARN.fullmatch(arn)
    return found[1] if found else None


class Approver(Record):
    """The person who approves or rejects.

    `via`: `slack` (Slack identifies the user), `link` (any holder of the link; `email` is set if the link was created
    for one person), `cli` (`name` is `user@host`), `api` (`name` is the ARN of the access key's user), `prefect`
    (Prefect's form, which does not identify the user), `codepipeline` (a rule decided, not a person). `name` is the
    display name; for a link holder, the name they typed.
    """

    via: Literal["slack", "link", "cli", "api", "prefect", "codepipeline"]
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
        """The address that identifies this person across Slack and links; empty if it is not known.

        For the AWS API it is the name of the access key, which can be an address.
        """
        if self.via == "api":
            user = (api_user(self.name) or "").casefold()
            return "" if user == ANONYMOUS else user
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
    # `user@host`: a host name is not a mail domain. The name of an access key may be an address, or have no domain.
    if {"cli", "api"} & {one.via, other.via}:
        return local_part(one.address) == local_part(other.address)
    return one.address == other.address


def local_part(address: str) -> str:
    """The part of an address before the @."""
    return address.partition("@")[0].casefold()
