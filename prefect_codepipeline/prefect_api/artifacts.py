"""Tables in Prefect's UI, linked to the run that makes them."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from prefect_codepipeline.errors import CodePipelineError
from prefect_codepipeline.prefect_api.client import call
from prefect_codepipeline.prefect_api.runs import ids_of_task_run

_logger = logging.getLogger(__name__)


def publish_table(key: str, name: str, description: str, rows: Sequence[Mapping[str, Any]]) -> str | None:
    """Create a table artifact, linked to the current task run; its id, or None if the server does not respond.

    Args:
        key: of `[a-z0-9-]`; under it Prefect keeps the tables of all runs.
        name: of the table, for the log.
        description: the text above the table, in Markdown.
        rows: the table.
    """
    body = {
        "key": key,
        "type": "table",
        "description": description,
        "data": json.dumps(rows, ensure_ascii=False),
        **{key: str(value) for key, value in ids_of_task_run().items() if value},
    }
    try:
        return str(call("POST", "/artifacts/", body)[1]["id"])
    except CodePipelineError as error:
        _logger.warning("the %s could not be published in Prefect's UI: %s", name, error)
        return None
