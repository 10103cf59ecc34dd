"""The newest format of records that was used with a Prefect server: an older release must not start to work with it.

It is marked by Prefect variables, one for each format, because a variable can be created only once: releases that start
at the same time cannot hide the marks of one another.
"""

from __future__ import annotations

from prefect_codepipeline.model.record.format import FORMAT, check_stamp, stamp
from prefect_codepipeline.prefect_api.client import api_url
from prefect_codepipeline.prefect_api.variables import create_variable, variables_with_prefix

_PREFIX = "codepipeline-record-format-"


def check_record_format() -> None:
    """Mark the format of this release as used; called by worker, gateway and reconcile before they begin.

    Raises:
        NewerRecord: a newer format was used with this server.
        PrefectUnavailable: Prefect does not answer.
    """
    marks = variables_with_prefix(_PREFIX)
    for mark in marks:
        check_stamp(f"the records of executions at {api_url()}", mark["value"])
    if not any(mark["name"] == f"{_PREFIX}{FORMAT}" for mark in marks):
        create_variable(f"{_PREFIX}{FORMAT}", stamp(FORMAT), ["codepipeline"])
