"""Show how an execution stands while it runs: the run's name and tags, and a page in Prefect's UI."""

import logging
import threading
from types import TracebackType

from prefect_codepipeline.errors import CodePipelineError
from prefect_codepipeline.model.execution import ExecutionPinned
from prefect_codepipeline.model.state import ExecutionState
from prefect_codepipeline.tasks.execution import Execution
from prefect_codepipeline.tasks.prefect_api import call

_logger = logging.getLogger(__name__)


class Reporter:
    """Follows one execution in a thread of its own: what it shows may lag, what it follows never waits.

    States that come while one is being shown are skipped but for the last.
    """

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self._changed = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="codepipeline-report", daemon=True)

    def __enter__(self) -> "Reporter":
        self._execution.listeners.append(lambda _: self._changed.set())
        self._changed.set()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._changed.set()
        self._thread.join(timeout=10)

    def _follow(self) -> None:
        shown: str | None = None
        while True:
            self._changed.wait()
            self._changed.clear()
            over = self._over.is_set()
            try:
                shown = _show_name(self._execution.state, shown)
            except CodePipelineError as error:
                _logger.warning("the execution's page in Prefect's UI could not be updated: %s", error)
            if over:
                return


def _show_name(state: ExecutionState, shown: str | None) -> str:
    name = run_name(state)
    if name != shown:
        body = {"name": name, "tags": run_tags(state)}
        call("PATCH", f"/flow_runs/{state.execution_id}", body, expected=(404,))
    return name


def run_name(state: ExecutionState) -> str:
    """The flow run's name: pipeline, short id, and what is being released once it is known."""
    revisions = list(state.source_revisions.values())
    what = (
        f" {revisions[0].revision_id[:7]} {revisions[0].revision_summary.partition(chr(10))[0][:60]}"
        if revisions
        else ""
    )
    return f"{state.pinned.pipeline_name} {state.execution_id[:8]}{what}".strip()


def run_tags(state: ExecutionState) -> list[str]:
    """Pipeline, trigger and revisions, to filter by in Prefect's UI."""
    pinned: ExecutionPinned = state.pinned
    tags = ["codepipeline", f"pipeline:{pinned.pipeline_name}", f"trigger:{pinned.trigger_type}"]
    return [*tags, *(f"revision:{revision.revision_id[:12]}" for revision in state.source_revisions.values())]
