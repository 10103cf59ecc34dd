"""The lifecycle events of a host in an in-place deployment, in their order.

https://docs.aws.amazon.com/codedeploy/latest/userguide/reference-appspec-file-structure-hooks.html
"""

from __future__ import annotations

EVENTS = (
    "BeforeBlockTraffic", "BlockTraffic", "AfterBlockTraffic",
    "ApplicationStop", "DownloadBundle", "BeforeInstall", "Install", "AfterInstall", "ApplicationStart", "ValidateService",
    "BeforeAllowTraffic", "AllowTraffic", "AfterAllowTraffic",
)  # fmt: skip
# They are there only if the deployment group has traffic.
TRAFFIC_EVENTS = EVENTS[:3] + EVENTS[-3:]
# What CodeDeploy itself does; an AppSpec has no scripts for them.
NOT_SCRIPTABLE = ("BlockTraffic", "DownloadBundle", "Install", "AllowTraffic")
SCRIPTABLE = tuple(event for event in EVENTS if event not in NOT_SCRIPTABLE)
# They run the scripts of the last successful revision, and nothing on the first deployment.
OF_LAST_SUCCESSFUL = ("BeforeBlockTraffic", "AfterBlockTraffic", "ApplicationStop")


def events_of_host(*, has_traffic: bool) -> tuple[str, ...]:
    """The events that a host goes through, in order."""
    return EVENTS if has_traffic else tuple(event for event in EVENTS if event not in TRAFFIC_EVENTS)
