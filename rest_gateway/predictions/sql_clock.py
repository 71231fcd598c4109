"""The clock by which leases are kept: the database server's, where several hosts share one store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, cast, func, literal

from crossover.rest_gateway.predictions.record import now_micros

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncConnection


def now(connection: AsyncConnection) -> ColumnElement[Any]:
    """Microseconds since 1970 as an expression of the statement; on SQLite, whose processes share a host, our own."""
    if connection.dialect.name == "sqlite":
        return literal(now_micros(), BigInteger)
    return cast(func.extract("epoch", func.clock_timestamp()) * 1_000_000, BigInteger)


def later(connection: AsyncConnection, seconds: float) -> ColumnElement[Any]:
    return now(connection) + round(seconds * 1e6)
