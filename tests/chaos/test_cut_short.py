"""Ends that come in the middle of something (F19, F20): a caller who leaves, a loop that closes, a program told to go.

What happened to a sale whose caller left is unknown to the caller and never half: the same sale again has the answer.
"""

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from collections import Counter as Tally
from pathlib import Path
from typing import Any

import pytest

from agent.store.files import till_file
from sync.runtime.database import open_reader
from sync.runtime.sqlite_file import Connection, DatabaseError
from tests.support import shop
from tests.support.chaos_tills import card, chaos_till, enrolled, import_cards
from tests.support.clock import FakeClock
from tests.support.hubs import hub_in_process
from tests.support.machines import POINTS_OF_SALE, Machines
from tests.support.processes import ROOT
from tests.support.waiting import breath, eventually, passing

EXIT_S = 5.0
CUTS = 24


async def test_f19_cancelled_at_any_point_a_sale_is_whole_or_not_and_asked_again_it_counts_once(
    tmp_path: Path,
) -> None:
    clock = FakeClock()
    async with hub_in_process(tmp_path / "hub") as hub:
        await import_cards(hub, tmp_path, (1,))
        enrolment = await enrolled(hub)
        for cut in range(CUTS):
            # The block's end cancels the upload and the download too, wherever they are.
            async with chaos_till(tmp_path / "till", enrolment, hub.url, clock) as till:
                sale = asyncio.ensure_future(till.sell(card(1), f"sale-{cut}", 1_500))
                for _ in range(cut // 2):
                    await (asyncio.sleep(0) if cut % 2 else breath())
                sale.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await sale
                assert await till.sell(card(1), f"sale-{cut}", 1_500) == 15
                await clock.advance(cut % 3)
        async with chaos_till(tmp_path / "till", enrolment, hub.url, clock) as till:
            await passing(clock, lambda: till.outbox().waiting == 0 and till.pending(card(1)) == 0)
            assert till.shown(card(1)) == 15 * CUTS
        assert await hub.inside.reader.read(_sales_at_hub) == Tally({f"sale-{cut}": 1 for cut in range(CUTS)})


@pytest.mark.parametrize("left_by", [SystemExit, KeyboardInterrupt, MemoryError, RecursionError])
async def test_f20_the_databases_thread_outlives_whatever_a_work_raises(
    tmp_path: Path, left_by: type[BaseException]
) -> None:
    def work(_: Connection) -> None:
        raise left_by

    async with shop.open_till(tmp_path) as store:
        with pytest.raises(left_by):
            await store.journal._writer.write(work)
        with pytest.raises(left_by):
            await store.journal._reader.read(work)
        await shop.credit(store)
        assert store.outbox.figures().waiting == 1


class NoRollback:
    """A connection on a disk that fails in the middle of taking something back, once."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._fails = True

    def execute(self, sql: str, *rest: Any) -> Any:
        if sql == "ROLLBACK" and self._fails:
            self._fails = False
            raise OSError("input/output error")
        return self._connection.execute(sql, *rest)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


async def test_f20_whoever_waits_hears_of_an_error_even_where_taking_back_fails_too(tmp_path: Path) -> None:
    def work(_: Connection) -> None:
        raise RuntimeError("a bug")

    async with shop.open_till(tmp_path) as store:
        connection: Any = store.journal._writer._connection
        connection._connection = NoRollback(connection._connection)
        async with asyncio.timeout(10.0):
            with pytest.raises(RuntimeError, match="a bug"):
                await store.journal._writer.write(work)
            with pytest.raises(DatabaseError):  # the transaction that was left open is in its way, and goes with it
                await shop.credit(store)
            await shop.credit(store)
        assert store.outbox.figures().waiting == 1


# Sells without end, until something that nobody planned for ends it.
SELLER = """
import asyncio, itertools, os, signal, sys
from pathlib import Path
from typing import Any
from tests.support import shop

async def main() -> None:
    async with shop.open_till(Path(sys.argv[1])) as store, asyncio.TaskGroup() as group:
        async def sell(name: int) -> None:
            for number in itertools.count():
                await shop.credit(store, f"s-{name}-{number}", 100)
                print(f"s-{name}-{number}", flush=True)
                if number == 20:
                    end()

        for name in range(8):
            group.create_task(sell(name))

def end() -> None:
    END

# A shell that starts a command in the background has it ignore Ctrl-C, and so do all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
asyncio.run(main())
"""
ENDS = {
    "a bug": "raise RuntimeError('a bug')",
    "a task that exits": "sys.exit(3)",
    "a person": "os.kill(os.getpid(), signal.SIGINT)",
    "an impatient person": "os.kill(os.getpid(), signal.SIGINT); os.kill(os.getpid(), signal.SIGINT)",
    "a loop that is closed": "asyncio.get_running_loop().stop()",
}


@pytest.mark.parametrize("end", ENDS)
def test_f20_a_program_that_ends_in_the_middle_of_sales_is_gone_within_five_seconds(tmp_path: Path, end: str) -> None:
    script = SELLER.replace("END", ENDS[end])
    process = subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-c", script, str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    first = process.stdout.readline()  # from here on it sells, and ends by itself
    rest, said = _said_to_its_end(process, EXIT_S + 5.0)

    assert process.returncode != 0, said
    told = {first.strip(), *rest.split()}
    assert len(told) > 20
    assert told <= asyncio.run(_sales_of(tmp_path))


def _said_to_its_end(process: subprocess.Popen[str], within_s: float) -> tuple[str, str]:
    """What it wrote until it was gone. One that stays says where it stands, and is gone for the tests that follow."""
    try:
        return process.communicate(timeout=within_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        _, said = process.communicate()
        pytest.fail(f"it was still there after {within_s:.0f} s:\n{said}")


async def _sales_of(folder: Path) -> set[str]:
    async with open_reader(till_file(folder, shop.DATABASE_KEY)) as reader:
        rows = await reader.read(lambda connection: connection.execute("SELECT sale_id FROM sales").fetchall())
    return {row[0] for row in rows}


@pytest.mark.timeout(240)
async def test_f20_told_to_go_in_the_middle_of_a_load_both_programs_are_gone_within_five_seconds(
    machines: Machines,
) -> None:
    load = machines.load
    async with asyncio.TaskGroup() as group:
        points_of_sale = [group.create_task(load.run(name)) for name in range(POINTS_OF_SALE)]
        await eventually(lambda: len(load.acknowledged) > 100)
        for program in (machines.till, machines.hub):
            began_s = time.monotonic()
            assert await program.stop() == 0
            assert time.monotonic() - began_s < EXIT_S
            await program.start()
        load.stopping = True
        await asyncio.wait(points_of_sale)
    await eventually(load.has_nothing_waiting, within_s=60)
    await machines.check_till()


def _sales_at_hub(connection: Connection) -> Tally[str]:
    rows = connection.execute("SELECT json_extract(raw, '$.data.sale_id') FROM events WHERE outcome = 'applied'")
    return Tally(row[0] for row in rows)
