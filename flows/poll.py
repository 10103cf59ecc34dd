"""Poll repositories and start executions for new commits, as a flow with a schedule. `codepipeline up` polls by itself."""

from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed

from prefect_codepipeline.engine.triggers.polling import poll_once


@flow(name="poll", persist_result=False)
def poll(connections: bool = True) -> State[Any]:
    """Poll each repository that a deployed pipeline reads, at most once a minute, and start executions for new commits.

    https://docs.aws.amazon.com/codepipeline/latest/userguide/triggers.html

    Args:
        connections: whether to poll the repositories of CodeStarSourceConnection actions too; one with a webhook is never polled.
    """
    sentences = poll_once(connections)
    for sentence in sentences:
        get_run_logger().info("%s", sentence)
    # Executions that were started come first, because a long message is cut.
    ordered = sorted(sentences, key=lambda sentence: ": execution " not in sentence)
    return Completed(message="; ".join(ordered)[:2000] or "nothing was pushed")
