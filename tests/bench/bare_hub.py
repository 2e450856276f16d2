"""The raw thing that a hub is held against: a handler that reads the same bytes and makes them durable, and no more.

Run as `python -m tests.bench.bare_hub PORT FILE`. It takes a gzipped list of events, parses it, keeps each text as a
row of plain SQLite, one synced commit a list, and answers one word per event. It knows no terminal, no sale and no
balance, and would take the same event twice. Its poll is held open until somebody rings.
"""

import asyncio
import gzip
import json
import sqlite3
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import aiohttp
from aiohttp import web

EVENTS, POLL, RING, READY = "/events", "/poll", "/ring", "/readyz"
_BODY_BYTES_MAX = 1024 * 1024
_GZIP_LEVEL = 1


def application(file: Path) -> web.Application:
    books, writing = _books(file), asyncio.Lock()
    rung = asyncio.Event()

    async def put(request: web.Request) -> web.Response:
        events = json.loads(gzip.decompress(await request.read()))
        rows = [(json.dumps(event, separators=(",", ":"), ensure_ascii=False),) for event in events]
        async with writing:
            await asyncio.to_thread(_keep, books, rows)
        return web.json_response([{"seq": event["seq"], "outcome": "applied"} for event in events])

    async def poll(request: web.Request) -> web.Response:
        nonlocal rung
        await rung.wait()
        return web.json_response({"changes": [{"key": request.path, "points": 1}]})

    async def ring(_: web.Request) -> web.Response:
        nonlocal rung
        over, rung = rung, asyncio.Event()
        over.set()
        return web.Response(text="rung")

    async def ready(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    app = web.Application(client_max_size=_BODY_BYTES_MAX)
    app.add_routes([web.put(EVENTS, put), web.get(POLL, poll), web.post(RING, ring), web.get(READY, ready)])
    return app


class Outbox:
    """A bare outbox: texts in plain SQLite, sent in order by a bare client, each ack a synced commit."""

    def __init__(self, file: Path, texts: Sequence[str]) -> None:
        self._connection = _durable(file)
        self._connection.executescript(
            "CREATE TABLE waiting (position INTEGER PRIMARY KEY, event TEXT NOT NULL) STRICT;"
            "CREATE TABLE acked (one INTEGER PRIMARY KEY, through INTEGER NOT NULL) STRICT;"
            "INSERT INTO acked VALUES (1, 0)"
        )
        self._connection.execute("BEGIN")
        self._connection.executemany("INSERT INTO waiting (event) VALUES (?)", ((text,) for text in texts))
        self._connection.execute("COMMIT")
        self._length = len(texts)

    async def drain(self, session: aiohttp.ClientSession, port: int, most: int) -> float:
        """Send all, `most` a message, and return the seconds it took."""
        start = time.perf_counter()
        for through in range(0, self._length, most):
            rows = self._connection.execute(
                "SELECT event FROM waiting WHERE position > ? ORDER BY position LIMIT ?", (through, most)
            ).fetchall()
            body = gzip.compress(f"[{','.join(row[0] for row in rows)}]".encode(), compresslevel=_GZIP_LEVEL)
            async with session.put(f"http://127.0.0.1:{port}{EVENTS}", data=body) as answer:
                words = json.loads(await answer.read())
            self._connection.execute("UPDATE acked SET through = ?", (words[-1]["seq"],))
        return time.perf_counter() - start

    def close(self) -> None:
        self._connection.close()


def _books(file: Path) -> sqlite3.Connection:
    connection = _durable(file)
    connection.execute("CREATE TABLE IF NOT EXISTS events (number INTEGER PRIMARY KEY, event TEXT NOT NULL) STRICT")
    return connection


def _keep(connection: sqlite3.Connection, rows: Sequence[tuple[str]]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany("INSERT INTO events (event) VALUES (?)", rows)
    connection.execute("COMMIT")


def _durable(file: Path) -> sqlite3.Connection:
    """Open a file whose commits are on disk when they return."""
    connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    return connection


if __name__ == "__main__":
    _, port, file = sys.argv
    web.run_app(
        # Polls are held for ever here, and nobody waits for their answers when it stops.
        application(Path(file)),
        host="127.0.0.1",
        port=int(port),
        shutdown_timeout=0.1,
        access_log=None,
        print=None,
    )
