"""What a person at the hub does with single customers. Each returns what to say.

All work beside a running hub, where its SQLite lets two programs write (`sync.hub.root.desk`), or without one; a
running hub tells the tills within a second. No name is printed: ids are enough, and a terminal's history is no place
for people.
"""

import asyncio
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from sync.contract.identifiers import Scheme, identifier_id, normalise
from sync.hub.commands.refusals import NotDone
from sync.hub.config import HubConfig
from sync.hub.feed.snapshot_files import remove_before
from sync.hub.people.classes import members, winners
from sync.hub.people.customer_rows import Leaving
from sync.hub.people.customers import put_customers
from sync.hub.people.erasures import erased_on, listed
from sync.hub.people.merging import merge, unmerge
from sync.hub.people.presented import erase
from sync.hub.root import desk, is_running, reading_desk
from sync.runtime.clock import SystemClock
from sync.runtime.database import Writer
from sync.runtime.printing import counted
from sync.runtime.sqlite_file import Connection

_OLD_PAGES = "hub.db-wal holds older pages until the hub has been idle for a moment"


async def merge_customers(config: HubConfig, loser: str, winner: str) -> str:
    """Merge a customer into another.

    Raises:
        MergeRefused: it cannot be.
    """
    now_ms = _now_ms()
    async with desk(config) as (writer, _):
        merged = await writer.write(lambda connection: merge(connection, loser, winner, now_ms))
    if not merged.is_new:
        return f"{loser} was merged already (merge {merged.merge_id}); nothing changed"
    return f"{loser} is shown as {merged.shown_as} now (merge {merged.merge_id}); to end it: customers unmerge {loser}"


async def unmerge_customer(config: HubConfig, named: str) -> str:
    """End a merge, named by its loser or its number.

    Raises:
        MergeRefused: no such merge stands.
    """
    now_ms = _now_ms()
    async with desk(config) as (writer, _):
        ended = await writer.write(lambda connection: unmerge(connection, named, now_ms))
    return f"{ended.loser} is a customer by itself again, apart from {ended.winner} (merge {ended.merge_id} ended)"


async def show_customer(config: HubConfig, customer_id: str) -> str:
    """Say what a customer is merged with, and the points shown.

    Raises:
        NotDone: there is no such customer.
    """
    async with reading_desk(config) as reader:
        return await reader.read(lambda connection: _shown(connection, customer_id))


async def erase_customer(config: HubConfig, customer_id: str, *, is_sure: bool) -> str:
    """Erase a person: the customer and everybody merged with it. It cannot be taken back.

    Raises:
        NotDone: there is no such customer, or the caller is not sure.
    """
    now_ms = _now_ms()
    async with desk(config) as (writer, founding):
        together = await writer.write(lambda connection: _persons(connection, customer_id))
        named = " and ".join(sorted(together))
        if not is_sure:
            raise NotDone(
                f"this erases {named} here and on every till, and cannot be taken back (unmerge first to keep one); "
                "to do it, add --yes"
            )
        put = await writer.write(lambda connection: put_customers(connection, [Leaving(customer_id, "erased")], now_ms))
        log_is_clean = await _clean_log(writer)
    if not is_running(config):
        await asyncio.to_thread(remove_before, config.hub.state / "snapshots", founding.epoch, put.pos)
    said = (
        f"{named} erased; the ledger keeps its rows without a person\nwhich tills have heard: customers erase --status"
    )
    return said if log_is_clean else f"{said}\n{_OLD_PAGES}"


async def show_erasures(config: HubConfig) -> str:
    """List the erasures, and the tills that may still hold the person."""
    async with reading_desk(config) as reader:
        erasures = await reader.read(listed)
    lines = []
    for erasure in erasures:
        tills = ", ".join(f"{terminal_id} {name}".rstrip() for terminal_id, name in erasure.behind)
        lines.append(
            f"{erasure.customer_id:24}  {erasure.at:%Y-%m-%d %H:%M:%SZ}  {tills or 'every till has erased it'}"
        )
    return "\n".join(lines) or "nobody was erased"


def read_presented(file: Path | None) -> list[str]:
    """Return the lines of a file or of standard input; wait for the end of that one, or for Ctrl-C.

    Outside the event loop: there Ctrl-C would have to wait for the end, too.
    """
    if file is not None:
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    return sys.stdin.read().splitlines()


async def forget_presented(config: HubConfig, lines: Sequence[str]) -> str:
    """Erase cards, phones and e-mails that were presented at a till and lead to no customer, one in each line.

    They come from a file or from standard input, because a command line is seen and kept. None is printed.

    Raises:
        NotDone: a line is none of these; nothing was changed.
    """
    async with desk(config) as (writer, founding):
        key, country_code = founding.identifier_key, config.hub.country_code
        ids = {number: _ids_of(key, line, country_code) for number, line in enumerate(lines, 1) if line.strip()}
        bad = [f"line {number}" for number in ids if not ids[number]]
        if bad or not ids:
            first = [*bad, "what was given"][0]
            raise NotDone(f"{first} is no card, phone or e-mail; write one in each line, nothing was changed")
        erased = await writer.write(lambda connection: erase(connection, set().union(*ids.values())))
        log_is_clean = await _clean_log(writer)
        owners = await writer.write(lambda connection: {number: _owners(connection, ids[number]) for number in ids})
    said = [
        f"line {number}: {'erased' if ids[number] & erased else 'nothing was kept of it'}"
        + "".join(f"; it leads to {one}, see: customers erase" for one in owners[number])
        for number in ids
    ]
    return "\n".join(said if log_is_clean else [*said, _OLD_PAGES])


def _ids_of(key: bytes, text: str, country_code: str) -> set[str]:
    """Return the ids that a text may have, by the kind that it is taken for."""
    written = {scheme: normalise(scheme, text, country_code=country_code) for scheme in Scheme}
    return {identifier_id(key, scheme, value) for scheme, value in written.items() if value is not None}


def _owners(connection: Connection, ids: set[str]) -> list[str]:
    rows = connection.execute(
        "SELECT DISTINCT customer_id FROM identifiers WHERE id IN (SELECT value FROM json_each(?)) ORDER BY 1",
        (json.dumps(sorted(ids)),),
    )
    return [row[0] for row in rows.fetchall()]


def _now_ms() -> int:
    return int(SystemClock().now().timestamp() * 1000)


def _shown(connection: Connection, customer_id: str) -> str:
    together = _persons(connection, customer_id)
    root = [customer_id, *winners(connection, customer_id)][-1]
    row = connection.execute("SELECT points, reserved, debt FROM balances WHERE customer_id = ?", (root,)).fetchone()
    points, reserved, debt = row or (0, 0, 0)
    lines = [f"{customer_id}: shown as {root} with {counted(points, 'point')}"]
    if reserved:
        lines.append(f"  tills hold {reserved} of them; see: allowances list")
    if debt:
        lines.append(f"  {counted(debt, 'point')} owed beyond that, for sales that were taken back; later sales pay")
    lines += [
        f"  merge {merge_id}: {loser} into {winner}"
        for merge_id, loser, winner in connection.execute(
            "SELECT merge_id, loser, winner FROM merges WHERE undone_ms IS NULL ORDER BY merge_id"
        )
        if loser in together
    ]
    return "\n".join(lines)


def _persons(connection: Connection, customer_id: str) -> set[str]:
    """Return the customer and all who are merged with it."""
    together = members(connection, [customer_id])
    is_there = connection.execute("SELECT 1 FROM customers WHERE customer_id = ?", (customer_id,)).fetchone()
    if is_there is None and together == {customer_id}:
        erased = erased_on(connection, customer_id)
        raise NotDone(
            f"{customer_id} was erased on {erased:%Y-%m-%d}" if erased else f"{customer_id}: no such customer"
        )
    return together


async def _clean_log(writer: Writer) -> bool:
    """Write the log back into the file, so that it holds no older pages; tell whether all of it could be."""
    row = await writer.outside_transaction(
        lambda connection: connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    )
    return row is not None and row[0] == 0
