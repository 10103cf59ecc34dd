"""Run the builds of a batch: side by side, each when those that it depends on have ended.

https://docs.aws.amazon.com/codebuild/latest/userguide/batch-build.html
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from prefect_codepipeline.actions.codebuild.build.running import BuildResult
from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.actions.work import CancellationToken
from prefect_codepipeline.errors import ActionAbandoned, ActionFailed
from prefect_codepipeline.model.buildspec.parts import Batch, BatchBuild

# Builds wait for the network as much as they compute.
AT_ONCE = 2 * (os.cpu_count() or 1)
_TICK_SECONDS = 0.1

RunBuild = Callable[[BatchBuild, CancellationToken], BuildResult]


@dataclass
class BatchResult:
    """How the builds of a batch ended, by identifier: with a result, a failure, or not at all (`skipped`: why)."""

    results: dict[str, BuildResult] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def has_ended(self, identifier: str) -> bool:
        """Whether it ended, or never will begin."""
        return identifier in self.results or identifier in self.failures or identifier in self.skipped

    def failed(self, identifier: str) -> bool:
        """Whether what depends on it cannot begin."""
        return identifier in self.failures or identifier in self.skipped


def run_batch(batch: Batch, run: RunBuild, context: ActionContext) -> BatchResult:
    """Run all builds of a batch, at most twice as many at once as there are CPUs.

    A build that fails lets those that depend on it out, unless its failure is to be ignored; with `fast-fail` those
    that run are ended.

    Args:
        batch: the builds.
        run: runs one, in a thread of its own; fails by raising `ActionFailed` or by its result's `failure`.
        context: its end is the end of all.

    Raises:
        ActionFailed: with code `Timeout`, the deadline came first.
        ActionAbandoned: the execution was cancelled.
    """
    return _Scheduler(batch, run, context).run()


class _Scheduler:
    def __init__(self, batch: Batch, run: RunBuild, context: ActionContext) -> None:
        self._batch, self._run, self._context = batch, run, context
        self._result = BatchResult()
        self._running: dict[Future[BuildResult], tuple[BatchBuild, CancellationToken]] = {}

    def run(self) -> BatchResult:
        with ThreadPoolExecutor(max_workers=AT_ONCE, thread_name_prefix="batch") as pool:
            try:
                waiting = list(self._batch.builds)
                while waiting or self._running:
                    waiting = self._begin(waiting, pool)
                    self._follow()
            except BaseException:
                self._end_running()
                raise
        return self._result

    def _begin(self, waiting: list[BatchBuild], pool: ThreadPoolExecutor) -> list[BatchBuild]:
        """Start what may start; what still has to wait."""
        left = []
        for build in waiting:
            if reason := self._reason_to_skip(build):
                self._result.skipped[build.identifier] = reason
            elif len(self._running) < AT_ONCE and all(map(self._result.has_ended, build.depend_on)):
                token = CancellationToken()
                self._running[pool.submit(self._run, build, token)] = (build, token)
            else:
                left.append(build)
        return left

    def _reason_to_skip(self, build: BatchBuild) -> str:
        blocking = self._blocking()
        if self._batch.fast_fail and blocking:
            return f"{blocking[0]} failed, and the batch is to fail fast"
        missing = [name for name in build.depend_on if name in blocking or name in self._result.skipped]
        return f"it depends on {missing[0]}, which did not succeed" if missing else ""

    def _blocking(self) -> list[str]:
        ignored = {build.identifier for build in self._batch.builds if build.ignore_failure}
        return [name for name in self._result.failures if name not in ignored]

    def _follow(self) -> None:
        """Take what has ended, after a short wait for it."""
        self._context.check()
        ended, _ = wait(self._running, _TICK_SECONDS, FIRST_COMPLETED)
        for future in ended:
            build, token = self._running.pop(future)
            self._take(build, token, future)
        if self._batch.fast_fail and self._blocking():
            for _, token in self._running.values():
                token.cancel()

    def _take(self, build: BatchBuild, token: CancellationToken, future: Future[BuildResult]) -> None:
        try:
            result = future.result()
        except ActionAbandoned:
            self._result.skipped[build.identifier] = "it was ended, because the batch is to fail fast"
        except ActionFailed as error:
            self._result.failures[build.identifier] = str(error)
        else:
            if result.failure:
                self._result.failures[build.identifier] = result.failure
            self._result.results[build.identifier] = result
        running = ", ".join(each.identifier for each, _ in self._running.values())
        done = sum(map(self._result.has_ended, (each.identifier for each in self._batch.builds)))
        self._context.report_progress(
            f"{done} of {len(self._batch.builds)} builds ended" + (f"; running: {running}" if running else "")
        )

    def _end_running(self) -> None:
        for _, token in self._running.values():
            token.cancel()
        wait(self._running)
