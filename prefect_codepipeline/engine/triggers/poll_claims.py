"""Claims to poll something in a minute: Prefect variables, each of which can be created only once."""

from __future__ import annotations

from prefect_codepipeline.prefect_api.variables import create_variable, delete_variable, variables_with_prefix

_CLAIM = "codepipeline-poll-"


def claim(name: str, minute: int) -> bool:
    """Claim the right to poll `name` in this minute; False if another process has claimed it."""
    return create_variable(f"{_CLAIM}{minute}-{name}", minute, ["codepipeline"]) is not None


def drop_old_claims(minute: int) -> None:
    """Delete the claims of minutes that have passed."""
    for each in variables_with_prefix(_CLAIM):
        # Claims of the minute before are kept: the clocks of two servers may differ.
        if int(each["value"]) < minute - 1:
            delete_variable(each)
