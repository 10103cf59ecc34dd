"""Which block is that of a CodeDeploy application."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect_codepipeline.errors import wrong_configuration
from prefect_codepipeline.model.names import application_block_names


def application_block(application: str, blocks: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The name of the block of an application, or None. A block that has its `application_name` comes first.

    Args:
        application: ApplicationName of an action.
        blocks: the fields of each CodeDeployApplication block, by its name.

    Raises:
        ActionFailed: with code `ConfigurationError`, several blocks are of this application.
    """
    named = [name for name, fields in blocks.items() if fields.get("application_name") == application]
    if len(named) > 1:
        raise wrong_configuration(
            f"CodeDeployApplication blocks {', '.join(map(repr, named))} all have the application_name {application!r}; "
            "delete all but one"
        )
    unnamed = (
        name
        for name in application_block_names(application)
        if name in blocks and not blocks[name].get("application_name")
    )
    return next(iter([*named, *unnamed]), None)
