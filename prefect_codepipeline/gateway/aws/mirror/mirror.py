"""What is known of pipelines and their executions, read on as answers need it.

Definitions never change, and what has ended does not until it is retried: both are read once. One look a second finds what
has begun, ended or changed, and the facts of what is in flight are read on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from prefect_codepipeline.engine.executions.gate_state import Gates
from prefect_codepipeline.engine.executions.lookup import KnownExecution, pipeline_tag
from prefect_codepipeline.engine.executions.run_lists import Run
from prefect_codepipeline.gateway.aws.mirror.executions import Executions, WatchedExecution
from prefect_codepipeline.gateway.aws.mirror.fresh import Fresh
from prefect_codepipeline.gateway.aws.mirror.history import ENDED, History
from prefect_codepipeline.gateway.aws.mirror.look import Look, look
from prefect_codepipeline.gateway.aws.mirror.pipelines import KnownPipeline, Pipelines
from prefect_codepipeline.gateway.aws.protocol.pages import Place
from prefect_codepipeline.prefect_api.client import flow_run

# After that time without a question, too much has changed: lists are read anew, the records of what has ended are kept.
_IDLE_SECONDS = 300.0
# Retention removes what has ended long ago: after that time no list has it any more.
_LISTED_SECONDS = 3600.0
_FEW, _MANY = 4, 50


@dataclass(frozen=True)
class _Listed:
    """The history of a pipeline, which is another one if the pipeline is made again."""

    first_id: str
    history: History


class Mirror:
    """What this process knows. Nothing that it says is older than a second, nor older than what it said before."""

    def __init__(self) -> None:
        self._look = Fresh(self._read_look)
        self._looked: Look | None = None
        self._pipelines = Pipelines()
        self._executions = Executions()
        self._listed: dict[str, _Listed] = {}
        self._listed_since = time.monotonic()

    def pipelines(self) -> list[KnownPipeline]:
        """All pipelines, by name."""
        return self._pipelines.all(self._look.get().signs)

    def pipeline(self, name: str) -> KnownPipeline | None:
        """A pipeline, or None if there is no such pipeline."""
        return self._pipelines.find(name, self._look.get().signs)

    def has_conditions(self, pipeline: KnownPipeline) -> bool:
        """Whether any version of the pipeline has had conditions."""
        return self._pipelines.has_conditions(pipeline)

    def gates(self, name: str) -> Gates:
        """The gates of a pipeline."""
        return self._look.get().gates_of(name)

    def executions(self, name: str) -> Iterator[KnownExecution]:
        """The executions of a pipeline, the newest first; read as far as the iterator is used."""
        return (each.known for each in self.newest_first(name))

    def forget(self, name: str) -> None:
        """Have everything about a pipeline read anew: this process has changed something."""
        self._pipelines.expire(name)
        if listed := self._listed.get(name):
            self._executions.expire([run["id"] for run in listed.history.known_runs])
        self._look.expire()

    def history(self, name: str) -> History | None:
        """The flow runs of a pipeline; None if there is no such pipeline."""
        pipeline = self.pipeline(name)
        if pipeline is None:
            return None
        listed = self._listed.get(name)
        if listed and listed.first_id == pipeline.first_id:
            return listed.history
        if listed:
            self._executions.definitions.forget(name)
            self._executions.forget([run["id"] for run in listed.history.known_runs])
        history = History(name, pipeline.created)
        history.see(_of_pipeline(name, self._look.get().in_flight.values()))
        self._listed[name] = _Listed(pipeline.first_id, history)
        return history

    def newest_first(
        self,
        name: str,
        after: Place | None = None,
        at_once: int = _FEW,
        only: Callable[[Run], bool] = lambda run: True,
    ) -> Iterator[WatchedExecution]:
        """The executions of a pipeline, the newest first, read as far as the iterator is used.

        Args:
            name: the pipeline.
            after: the place after which they begin.
            at_once: how many to read first; later more.
            only: chooses flow runs, before anything is read of them.
        """
        history = self.history(name)
        runs = filter(only, history.newest_first(after)) if history else iter(())
        while some := list(islice(runs, at_once)):
            yield from self._executions.watch(some)
            at_once = min(2 * at_once, _MANY)

    def watch(self, runs: list[Run]) -> list[WatchedExecution]:
        """The executions of these flow runs, without those of a deleted pipeline."""
        return self._executions.watch(runs)

    def find(self, name: str, execution_id: str) -> WatchedExecution | None:
        """One execution of a pipeline, or None."""
        history = self.history(name)
        if history is None:
            return None
        run = history.run(execution_id)
        if run is None:
            run = flow_run(execution_id)
            if run is None or pipeline_tag(name) not in run["tags"] or not history.is_of_pipeline(run):
                return None
            history.see([run])
        return next(iter(self._executions.watch([run])), None)

    def _read_look(self) -> Look:
        before = self._looked
        now = time.monotonic()
        is_old = now - self._look.read_at > _IDLE_SECONDS or now - self._listed_since > _LISTED_SECONDS
        if before is None or is_old:
            self._listed, self._listed_since = {}, now
            before = None
        found = look(before.ended_until if before else None)
        self._take_in(found)
        self._looked = found
        return found

    def _take_in(self, found: Look) -> None:
        seen = found.latest_of_each
        self._executions.see(seen)
        for name, listed in list(self._listed.items()):
            listed.history.see(_of_pipeline(name, seen.values()))
            for run in listed.history.known_runs:
                if run["state_type"] not in ENDED and run["id"] not in seen:
                    self._look_for(listed.history, run)

    def _look_for(self, history: History, run: Run) -> None:
        """Ask for a run that was in flight and is in no list: it was deleted, or ended at a time that was looked at before."""
        there = flow_run(run["id"])
        if there is None:
            history.remove(run["id"])
        else:
            history.see([there])
            self._executions.see({run["id"]: there})


def _of_pipeline(name: str, runs: Iterable[Run]) -> list[Run]:
    tag = pipeline_tag(name)
    return [run for run in runs if tag in run["tags"]]
