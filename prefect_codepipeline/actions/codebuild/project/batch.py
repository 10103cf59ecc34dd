"""Run the builds of a batch in parallel; each starts when the builds that it depends on have ended.

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

# Builds wait for the network about as long as they compute.
AT_ONCE = 2 * (os.cpu_count() or 1)
_TICK_SECONDS = 0.1

RunBuild = Callable[[BatchBuild, CancellationToken], BuildResult]


@dataclass
class BatchResult:
    """The outcome of each build of a batch, by identifier; `skipped` gives the reason why a build did not run."""

    results: dict[str, BuildResult] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def has_ended(self, identifier: str) -> bool:
        """Whether the build has ended or was skipped."""
        return identifier in self.results or identifier in self.failures or identifier in self.skipped

    def failed(self, identifier: str) -> bool:
        """Whether the build failed or was skipped, so that builds that depend on it cannot start."""
        return identifier in self.failures or identifier in self.skipped


def run_batch(batch: Batch, run: RunBuild, context: ActionContext) -> BatchResult:
    """Run all builds of a batch, at most two per CPU at once.

    If a build fails, the builds that depend on it are skipped, unless its failure is ignored. With `fast-fail` the
    running builds are ended too.

    Args:
        batch: the builds.
        run: runs one build in its own thread; it reports a failure by `ActionFailed` or by the result's `failure`.
        context: the context of the action; all builds end with it.

    Raises:
        ActionFailed: with code `Timeout`, the deadline passed.
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
                    waiting = self._start_ready(waiting, pool)
                    self._follow()
            except BaseException:
                self._end_running()
                raise
        return self._result

    def _start_ready(self, waiting: list[BatchBuild], pool: ThreadPoolExecutor) -> list[BatchBuild]:
        """Start the builds that may start, and return those that must still wait."""
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
            return f"{blocking[0]} failed, and the batch has fast-fail"
        missing = [name for name in build.depend_on if name in blocking or name in self._result.skipped]
        return f"it depends on {missing[0]}, which did not succeed" if missing else ""

    def _blocking(self) -> list[str]:
        ignored = {build.identifier for build in self._batch.builds if build.ignore_failure}
        return [name for name in self._result.failures if name not in ignored]

    def _follow(self) -> None:
        """Wait briefly for running builds, and record those that have ended."""
        self._context.check()
        ended, _ = wait(self._running, _TICK_SECONDS, FIRST_COMPLETED)
        for future in ended:
            build, _ = self._running.pop(future)
            self._record(build, future)
        if self._batch.fast_fail and self._blocking():
            for _, token in self._running.values():
                token.cancel()

    def _record(self, build: BatchBuild, future: Future[BuildResult]) -> None:
        try:
            result = future.result()
        except ActionAbandoned:
            self._result.skipped[build.identifier] = "it was ended because the batch has fast-fail"
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
