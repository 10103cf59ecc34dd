"""Start executions for what was pushed: the schedule where neither `codepipeline up` nor another loop polls."""

from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed

from prefect_codepipeline.engine.triggers.polling import poll_once


@flow(name="poll", persist_result=False)
def poll(connections: bool = True) -> State[Any]:
    """Look at each repository that a deployed pipeline reads, at most once a minute, and start what pushes ask for.

    https://docs.aws.amazon.com/codepipeline/latest/userguide/triggers.html

    Args:
        connections: also what CodeStarSourceConnection actions read; a connection with a webhook is never asked.
    """
    sentences = poll_once(connections)
    for sentence in sentences:
        get_run_logger().info("%s", sentence)
    # What was started first: where much is wrong, the rest is cut.
    told = sorted(sentences, key=lambda sentence: ": execution " not in sentence)
    return Completed(message="; ".join(told)[:2000] or "nothing was pushed")
