"""What a person at the hub does with files: customers in and out, the ledger's events out.

Faults and progress go to standard error, what was asked for to standard output or into the file.
"""

import asyncio
import io
import sys
from contextlib import suppress
from pathlib import Path

from tqdm import tqdm

from sync.hub.config import HubConfig
from sync.hub.people.exporting import Format, export_customers, export_events
from sync.hub.people.importing import Desk, Fault, import_customers
from sync.hub.root import desk, is_running, reading_desk
from sync.runtime.clock import SystemClock
from sync.runtime.printing import counted
from sync.runtime.whole_file import whole_file

# A file of the wrong kind has a fault on every line; nobody reads more than this.
FAULTS_SHOWN = 1_000


async def bring_in(config: HubConfig, path: Path) -> bool:
    """Bring customers in from a file and say how many; tell whether every row was good.

    Raises:
        ImportFileError: the file as a whole cannot be read.
    """
    shown = 0

    def show(kind: str, fault: Fault) -> None:
        nonlocal shown
        shown += 1
        if shown <= FAULTS_SHOWN:
            with suppress(BrokenPipeError):  # whoever read the faults has gone; the rows are to be kept all the same
                tqdm.write(f"{path}:{fault.line}: {kind}{fault.field}: {fault.words}", file=sys.stderr)

    size = (await asyncio.to_thread(path.stat)).st_size
    with tqdm(total=size, unit="B", unit_scale=True, desc=path.name, disable=None, file=sys.stderr) as bar:

        def bar_at(bytes_read: int) -> None:
            bar.update(bytes_read - bar.n)

        async with desk(config) as (writer, founding):
            done = await import_customers(
                path,
                Desk(
                    writer,
                    SystemClock(),
                    founding.identifier_key,
                    config.hub.country_code,
                    on_fault=lambda fault: show("", fault),
                    on_warning=lambda fault: show("warning: ", fault),
                    on_progress=bar_at,
                    beside_hub=is_running(config),
                ),
            )
    if shown > FAULTS_SHOWN:
        with suppress(BrokenPipeError):
            print(f"… and {counted(shown - FAULTS_SHOWN, 'more line')} like these", file=sys.stderr)
    print(
        f"{counted(done.rows, 'row')}: {done.new} new, {done.changed} changed, {done.same} unchanged, "
        f"{done.gone} gone, {done.bad} bad"
    )
    return not done.bad


async def write_customers(config: HubConfig, name: str, form: Format | None) -> None:
    """Write all customers to a file, in the form that its name tells where none is asked for; `-` is standard output.

    Whoever breaks it off leaves the file as it was.
    """
    form = form or ("csv" if name.lower().endswith(".csv") else "ndjson")
    async with reading_desk(config) as reader:
        if name == "-":
            number = await reader.read(lambda connection: export_customers(connection, sys.stdout, form))
        else:
            with whole_file(Path(name)) as file, io.TextIOWrapper(file, encoding="utf-8", newline="") as out:
                number = await reader.read(lambda connection: export_customers(connection, out, form))
    print(counted(number, "customer"), file=sys.stderr)


async def write_events(config: HubConfig) -> None:
    """Print the ledger's events with what became of each, as NDJSON."""
    async with reading_desk(config) as reader:
        number = await reader.read(lambda connection: export_events(connection, sys.stdout))
    print(counted(number, "event"), file=sys.stderr)
