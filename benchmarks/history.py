"""Past executions in any number: every row that real ones have left, copied inside PostgreSQL.

A copy has its own ids, the same ones in all of its rows and texts, and its own times, a number of whole minutes before
those of the original. So it has the states, task runs, facts, log lines, artifacts and events that Prefect and this project
write, in the same shape. Prefect removes events after a week: older copies have none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import asyncpg
from database import EVENT_TABLES, options

# The rows of an execution, by its flow run ($1), its stages' flow runs (in $1 too), and their task runs ($2).
TABLES = {
    "flow_run": "id = any($1) and ($2::uuid[] is not null)",
    "task_run": "id = any($2) and ($1::uuid[] is not null)",
    "flow_run_state": "flow_run_id = any($1) and ($2::uuid[] is not null)",
    "task_run_state": "task_run_id = any($2) and ($1::uuid[] is not null)",
    "flow_run_input": "flow_run_id = any($1) and ($2::uuid[] is not null)",
    "log": "flow_run_id = any($1) and ($2::uuid[] is not null)",
    "artifact": "flow_run_id = any($1) and ($2::uuid[] is not null)",
    "events": "id in (select event_id from event_resources where {is_its_own})",
    "event_resources": "event_id in (select event_id from event_resources where {is_its_own})",
}
IS_ITS_OWN = (
    "resource_id in (select 'prefect.flow-run.' || id from unnest($1::uuid[]) id "
    "union all select 'prefect.task-run.' || id from unnest($2::uuid[]) id)"
)
EVENT_DAYS = 6  # a day less than Prefect keeps them, so that it removes none meanwhile
BATCH = 500
RUNS = """
with recursive runs(id) as (
  select $1::text::uuid
  union select child.id from runs join task_run on task_run.flow_run_id = runs.id
  join flow_run child on child.parent_task_run_id = task_run.id
) select array_agg(id) from runs
"""
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})")
_MINUTE = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d")
_KEY, _MINUTES = "~~~~~~~~", "<~{}~>"  # what stands for the beginning of an id, and for a minute


@dataclass(frozen=True)
class Column:
    """A column of a table that is copied."""

    name: str
    kind: str


@dataclass
class Original:
    """A real execution: the minute in which it began, and what its texts have in place of ids and minutes."""

    execution_id: str
    start: datetime
    kept: frozenset[str]
    minutes: set[int] = field(default_factory=set)

    def marked(self, text: str | None) -> str | None:
        """A value with marks in place of what differs from copy to copy."""
        if text is None:
            return None
        text = _ID.sub(lambda found: found[0] if found[0] in self.kept else _KEY + found[1], text)
        text = text.replace(self.execution_id[:8], _KEY)  # as it is displayed
        return _MINUTE.sub(self._mark_of, text)

    def _mark_of(self, found: re.Match[str]) -> str:
        at = datetime.fromisoformat(found[0]).replace(tzinfo=timezone.utc)
        number = int((at - self.start) / timedelta(minutes=1))
        if not 0 <= number < 60:  # no time of the execution
            return found[0]
        self.minutes.add(number)
        return _MINUTES.format(number)


class History:
    """Copies of executions in the database of an embedded set-up; `days` is the time from the first to the last of `most`."""

    def __init__(self, home: Path, execution_ids: Sequence[str], most: int, days: float) -> None:
        self._home = home
        self._ids = list(execution_ids)
        self._span = timedelta(days=days)
        self._apart = self._span / max(most, 1)
        self._count = 0

    async def grow(self, count: int) -> None:
        """Have that many copies in all; then what PostgreSQL does by itself in a quiet hour."""
        connection = await asyncpg.connect(**options(self._home), command_timeout=3600)
        try:
            await self._prepare(connection)
            tables = await self._mark(connection)
            for start in range(self._count, count, BATCH):
                await self._copy(connection, tables, start, min(start + BATCH, count))
            self._count = max(count, self._count)
            await connection.execute("set session_replication_role = origin")
            await connection.execute("vacuum analyze")
            await connection.execute("checkpoint")
        finally:
            await connection.close()

    async def _prepare(self, connection: Any) -> None:
        # Foreign keys are right by construction; to check each would take longer than to write the rows.
        for name, value in (
            ("timezone", "UTC"),
            ("session_replication_role", "replica"),
            ("synchronous_commit", "off"),
            ("work_mem", "256MB"),
        ):
            await connection.execute(f"set {name} = '{value}'")
        await connection.execute(
            "create temporary table copies (number int, original int, key text, minutes text[], has_events bool)"
        )
        # A pipeline is older than its executions: those of a deleted one that had the same name are not read.
        await connection.execute(
            "update block_document set created = least(created, now() - $1::interval)",
            self._span + timedelta(days=1),
        )

    async def _mark(self, connection: Any) -> dict[str, list[str]]:
        """The marked rows of all originals in tables of their own; what to insert for each column, by table."""
        kept = await _ids_of_others(connection)
        columns = {table: await _columns(connection, table) for table in TABLES}
        rows: dict[str, list[tuple[Any, ...]]] = {table: [] for table in TABLES}
        self._originals = []
        for number, execution_id in enumerate(self._ids):
            start = await connection.fetchval(
                "select date_trunc('minute', created) from flow_run where id = $1::text::uuid", execution_id
            )
            original = Original(execution_id, start - timedelta(minutes=1), kept)
            self._originals.append(original)
            for table, found in (await _rows(connection, execution_id, columns)).items():
                rows[table] += [(number, *map(original.marked, row)) for row in found]
        minutes = sorted(set().union(*(each.minutes for each in self._originals)))
        inserted = {}
        for table, found in rows.items():
            names = [column.name for column in columns[table]]
            await connection.execute(
                f"create temporary table original_{table} (original int, {', '.join(f'{name} text' for name in names)})"
            )
            await connection.copy_records_to_table(f"original_{table}", records=found)
            marked = {
                name
                for at, name in enumerate(names, 1)
                if any(_KEY in (row[at] or "") or "<~" in (row[at] or "") for row in found)
            }
            inserted[table] = [
                _expression(column, column.name in marked, minutes) for column in columns[table]
            ]
        return inserted

    async def _copy(self, connection: Any, tables: dict[str, list[str]], start: int, end: int) -> None:
        async with connection.transaction():
            await connection.execute("truncate copies")
            await connection.copy_records_to_table(
                "copies", records=[self._copy_of(number) for number in range(start, end)]
            )
            for table, values in tables.items():
                names = ", ".join(column.name for column in await _columns(connection, table))
                only = "where copies.has_events" if table in EVENT_TABLES else ""
                await connection.execute(
                    f"insert into {table} ({names}) select {', '.join(values)} from copies "
                    f"join original_{table} o using (original) {only} order by copies.number"
                )

    def _copy_of(self, number: int) -> tuple[int, int, str, list[str], bool]:
        original = number % len(self._originals)
        before = timedelta(hours=2) + self._apart * number
        start = self._originals[original].start - timedelta(minutes=int(before / timedelta(minutes=1)))
        minutes = [f"{start + timedelta(minutes=each):%Y-%m-%dT%H:%M}" for each in range(60)]
        # Every number has another key, and keys are spread like those of ids that were drawn.
        key = f"{(number + 1) * 2654435761 % 2**32:08x}"
        return number, original, key, minutes, before < timedelta(days=EVENT_DAYS)

    def with_events(self, count: int) -> int:
        """How many of the first copies still have events."""
        return sum(self._copy_of(number)[-1] for number in range(count))

    def copied_id(self, number: int) -> tuple[str, str]:
        """The id of a copy, and that of its original."""
        original = self._ids[number % len(self._ids)]
        return self._copy_of(number)[2] + original[8:], original


def without_ids_and_times(text: str, execution_id: str) -> str:
    """A text about an execution, as it is for all copies."""
    return _MINUTE.sub("", _ID.sub(r"\1", text).replace(execution_id[:8], ""))


def _expression(column: Column, is_marked: bool, minutes: Iterable[int]) -> str:
    value = f"o.{column.name}"
    if is_marked:
        value = f"replace({value}, '{_KEY}', copies.key)"
        for number in minutes:
            value = f"replace({value}, '{_MINUTES.format(number)}', copies.minutes[{number + 1}])"
    return f"({value})::{column.kind}"


async def _columns(connection: Any, table: str) -> list[Column]:
    found = await connection.fetch(
        "select attname, format_type(atttypid, atttypmod) from pg_attribute "
        "where attrelid = $1::text::regclass and attnum > 0 and not attisdropped and attgenerated = ''",
        table,
    )
    return [Column(f'"{name}"', kind) for name, kind in found]


async def _rows(
    connection: Any, execution_id: str, columns: dict[str, list[Column]]
) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of an execution as texts, by table."""
    runs = await connection.fetchval(RUNS, execution_id)
    tasks = await connection.fetchval(
        "select coalesce(array_agg(id), '{}') from task_run where flow_run_id = any($1)", runs
    )
    found = {}
    for table, which in TABLES.items():
        texts = ", ".join(f"{column.name}::text" for column in columns[table])
        where = which.format(is_its_own=IS_ITS_OWN)
        rows = await connection.fetch(f"select {texts} from {table} where {where}", runs, tasks)
        found[table] = [tuple(row) for row in rows]
    return found


async def _ids_of_others(connection: Any) -> frozenset[str]:
    """The ids that copies have too: those of flows, deployments, definitions and all else that is no part of an execution."""
    tables = await connection.fetch(
        "select table_name from information_schema.columns join information_schema.tables using (table_schema, table_name) "
        "where table_schema = 'public' and column_name = 'id' and data_type = 'uuid' and table_type = 'BASE TABLE'"
    )
    kept: set[str] = set()
    for (table,) in tables:
        if table not in TABLES:
            kept |= {str(row[0]) for row in await connection.fetch(f"select id from {table}")}
    return frozenset(kept)
