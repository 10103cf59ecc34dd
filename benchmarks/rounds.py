"""Rounds of reconcile and of polling in this process: how long each takes, and how many requests to Prefect it sends."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any


@dataclass(frozen=True)
class Round:
    """One round. `said` is what was repaired or started, and what could not be."""

    seconds: float
    requests: int
    said: list[str]


def counted(work: Callable[[], list[str]]) -> Round:
    """Do a round, and count its requests to Prefect."""
    from prefect_codepipeline.prefect_api import client

    answers: list[str] = []
    before, client.on_answer = client.on_answer, lambda method, path, _: answers.append(f"{method} {path}")
    start = time.perf_counter()
    try:
        said = work()
        return Round(time.perf_counter() - start, len(answers), said)
    finally:
        client.on_answer = before


def rounds_of_reconcile(repeat: int) -> tuple[list[Round], list[Round]]:
    """First rounds, as after the start of the service, and the one after each, two minutes later, that looks at everything."""
    from prefect_codepipeline.flows.reconcile import reconcile_once
    from prefect_codepipeline.prefect_api.leases import server_time

    first, later = [], []
    for _ in range(repeat):
        memory: dict[str, Any] = {}
        now = server_time()
        first.append(counted(lambda now=now, memory=memory: reconcile_once(now, memory)))
        then = now + timedelta(minutes=2)
        later.append(counted(lambda then=then, memory=memory: reconcile_once(then, memory)))
    return first, later


def rounds_of_polling(repeat: int) -> list[Round]:
    """Rounds in which nothing has changed; a first one, which is not counted, records the references."""
    from prefect_codepipeline.engine.triggers.polling import poll_once
    from prefect_codepipeline.prefect_api.leases import server_time

    # A repository is polled once a minute.
    times = [server_time() + timedelta(minutes=number) for number in range(repeat + 1)]
    return [counted(lambda now=now: poll_once(now=now)) for now in times][1:]
