"""Let a Prefect server on SQLite write one transaction after another.

SQLite has one write lock. Prefect's server opens up to 15 connections, and each of them waits for the lock inside SQLite,
while the request that has it may wait for a connection: then all stand still until something times out. A transaction
that began by reading is refused at once ("database is locked"). Here a transaction waits for its turn before it takes a
connection, and holds the write lock from its start.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary

from prefect.server.database.configurations import AioSqliteConfiguration
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction

_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


class _Turn:
    """The turn of one transaction; a transaction inside it belongs to it."""

    is_open = True


_turn: ContextVar[_Turn | None] = ContextVar("codepipeline_sqlite_turn", default=None)


def take_turns() -> None:
    """Change how this process begins transactions on SQLite."""
    begin: Any = AioSqliteConfiguration.begin_transaction

    @asynccontextmanager
    async def begin_in_turn(
        self: AioSqliteConfiguration, session: AsyncSession, with_for_update: bool = False
    ) -> AsyncGenerator[AsyncSessionTransaction, None]:
        outer = _turn.get()
        if outer and outer.is_open:
            async with begin(self, session, with_for_update) as transaction:
                yield transaction
            return
        async with _turns.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
            turn = _Turn()
            token = _turn.set(turn)
            try:
                async with begin(self, session, True) as transaction:
                    yield transaction
            finally:
                turn.is_open = False
                _turn.reset(token)

    AioSqliteConfiguration.begin_transaction = begin_in_turn  # type: ignore[method-assign]
