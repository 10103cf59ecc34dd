"""The account and the region that the AWS API shows, and the ARNs of what is in them."""

from __future__ import annotations

from dataclasses import dataclass

ACCOUNT, REGION = "123456789012", "us-east-1"


@dataclass(frozen=True)
class Account:
    """Where the pipelines of one Prefect server are, in AWS's terms.

    https://docs.aws.amazon.com/codepipeline/latest/userguide/permissions-reference.html
    """

    id: str = ACCOUNT
    region: str = REGION

    def pipeline(self, name: str) -> str:
        """The ARN of a pipeline."""
        return self.resource(name)

    def webhook(self, name: str) -> str:
        """The ARN of a webhook."""
        return self.resource(f"webhook:{name}")

    def action_type(self, kind: str) -> str:
        """The ARN of an action type; `kind` is `Custom/Build/Acme/1`: owner, category, provider and version."""
        return self.resource(f"actiontype:{kind}")

    def user(self, name: str) -> str:
        """The ARN of who has the access key of that name."""
        return f"arn:aws:iam::{self.id}:user/{name}"

    def resource(self, resource: str) -> str:
        """The ARN of what is called so within an account: `shop`, `webhook:push`."""
        return f"arn:aws:codepipeline:{self.region}:{self.id}:{resource}"


def resource_in(arn: str) -> str:
    """What an ARN names within its account: `shop`, `webhook:push` or `actiontype:Custom/Build/Acme/1`."""
    return arn.split(":", 5)[-1]
