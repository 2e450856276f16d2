"""The command line of the reference hub: parse, call one function, exit code.

0: done. 1: it could not be done, or not all of it; the reason stands on stderr. 2: the call or the settings are wrong.
Every command but `run` works beside a running hub or without one. Under a SQLite with the WAL-reset race those that
change something are refused beside one.
"""

import argparse
import asyncio
import logging
import sys
import textwrap
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from sync.contract.customers import Code
from sync.hub.commands.allowances import (
    end_recovery,
    release_allowances,
    show_allowances,
    show_recovery,
    show_risks,
)
from sync.hub.commands.customers import (
    erase_customer,
    forget_presented,
    merge_customers,
    read_presented,
    show_customer,
    show_erasures,
    unmerge_customer,
)
from sync.hub.commands.exchange import bring_in, write_customers, write_events
from sync.hub.commands.refusals import NotDone, WrongCall
from sync.hub.commands.terminals import (
    invite_terminal,
    list_terminals,
    release_terminal,
    revoke_terminal,
    rotate_credential,
)
from sync.hub.config import DEFAULT_PROGRAM, HubConfig
from sync.hub.marker import BroughtBack
from sync.hub.people.columns import COLUMNS
from sync.hub.people.importing import ImportFileError
from sync.hub.people.merging import MergeRefused
from sync.hub.programs import ProgramFileError, read_program
from sync.hub.root import AdminKeyError, TlsFilesError, program_version, run, tls_context
from sync.hub.terminals.roster import INVITATION_MINUTES, INVITATION_TRIES, Place
from sync.runtime.error_places import told_as_bug
from sync.runtime.heap import search_seldom
from sync.runtime.http_server import ServeError
from sync.runtime.printing import counted, file_fault, tell, until_unread
from sync.runtime.settings import SettingsError, load
from sync.runtime.sqlite_file import DatabaseError, driver_notice
from sync.runtime.state_lock import AlreadyRunning

DONE, FAILED, WRONG = 0, 1, 2
DEFAULT_CONFIG = Path("hub.toml")

_CODE: TypeAdapter[str] = TypeAdapter(Code)

Command = Callable[[argparse.Namespace, HubConfig], Awaitable[int]]


def program() -> int:
    """Be the program of this process: run the command of its own command line and return its exit code."""
    search_seldom()
    return main()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    return until_unread(lambda: _run_command(arguments), FAILED)


def _run_command(arguments: Sequence[str] | None) -> int:
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    command: Command = options.command
    try:
        config = _config(options.config)
        return asyncio.run(command(options, config))  # type: ignore[arg-type]  # every command is a coroutine
    except (SettingsError, ProgramFileError, TlsFilesError, WrongCall) as error:
        return _say(str(error), WRONG)
    except (
        ServeError,
        AdminKeyError,
        AlreadyRunning,
        BroughtBack,
        DatabaseError,
        ImportFileError,
        MergeRefused,
        NotDone,
    ) as error:
        return _say(str(error), FAILED)
    except BrokenPipeError:
        raise
    except OSError as error:
        return _say(file_fault(error), FAILED)
    except KeyboardInterrupt:
        return FAILED
    except Exception as error:  # noqa: BLE001 - Python's own last words would quote what the failing code held
        return _say(told_as_bug(error), FAILED)


async def _run(options: argparse.Namespace, config: HubConfig) -> int:
    if notice := driver_notice():
        logging.getLogger(__name__).warning(notice)
    await run(config, lambda url: tell(f"loyalty-hub is ready: {url}"), is_restored=options.restored)
    return DONE


async def _config_check(options: argparse.Namespace, config: HubConfig) -> int:
    tls_context(config)
    program = read_program(config.program.file or DEFAULT_PROGRAM)
    print(f"{options.config}: good; program in {program.currency} with {counted(len(program.rewards), 'reward')}")
    return DONE


async def _import(options: argparse.Namespace, config: HubConfig) -> int:
    return DONE if await bring_in(config, options.file) else FAILED


async def _export(options: argparse.Namespace, config: HubConfig) -> int:
    await write_customers(config, options.file, options.format)
    return DONE


async def _events(_: argparse.Namespace, config: HubConfig) -> int:
    await write_events(config)
    return DONE


async def _merge(options: argparse.Namespace, config: HubConfig) -> int:
    print(await merge_customers(config, options.loser, options.winner))
    return DONE


async def _unmerge(options: argparse.Namespace, config: HubConfig) -> int:
    print(await unmerge_customer(config, options.merge))
    return DONE


async def _show(options: argparse.Namespace, config: HubConfig) -> int:
    print(await show_customer(config, options.customer))
    return DONE


async def _erase(options: argparse.Namespace, config: HubConfig) -> int:
    if options.status:
        print(await show_erasures(config))
        return DONE
    if options.customer is None:
        raise WrongCall("name the customer to erase, or ask for --status")
    print(await erase_customer(config, options.customer, is_sure=options.yes))
    return DONE


def _forget(options: argparse.Namespace, config: HubConfig) -> Awaitable[int]:
    lines = read_presented(options.file)

    async def command() -> int:
        print(await forget_presented(config, lines))
        return DONE

    return command()


async def _release(options: argparse.Namespace, config: HubConfig) -> int:
    print(await release_allowances(config, options.terminal, is_sure=options.yes))
    return DONE


async def _end_recovery(options: argparse.Namespace, config: HubConfig) -> int:
    print(await end_recovery(config, is_sure=options.yes))
    return DONE


async def _invite(options: argparse.Namespace, config: HubConfig) -> int:
    invited = await invite_terminal(config, Place(options.store, options.name), options.qr, options.url)
    print(invited.code)
    scanned = f", or scan {invited.picture}," if invited.picture else ""
    print(
        f"type it at the till{scanned} within {INVITATION_MINUTES} minutes; {INVITATION_TRIES} tries", file=sys.stderr
    )
    return DONE


async def _revoke(options: argparse.Namespace, config: HubConfig) -> int:
    print(await revoke_terminal(config, options.terminal))
    return DONE


async def _rotate(options: argparse.Namespace, config: HubConfig) -> int:
    print(await rotate_credential(config, options.terminal))
    return DONE


async def _release_terminal(options: argparse.Namespace, config: HubConfig) -> int:
    print(await release_terminal(config, options.terminal))
    return DONE


def _telling(words: Callable[[HubConfig], Awaitable[str]]) -> Command:
    """Return the command that only tells something."""

    async def command(_: argparse.Namespace, config: HubConfig) -> int:
        print(await words(config))
        return DONE

    return command


def _config(path: Path) -> HubConfig:
    if not path.exists():
        raise SettingsError([f"{path}: there is no such file; copy packaging/hub.example.toml there and edit it"])
    return load(path, HubConfig)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="loyalty-hub", description="The reference hub that tills sync with.")
    parser.add_argument("--version", action="version", version=f"loyalty-hub {program_version()}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    _add(commands, "run", _run, "serve until told to end").add_argument(
        "--restored",
        action="store_true",
        help="hub.db was brought back from a backup: begin a new epoch, so that tills send again what it lost",
    )
    config = commands.add_parser("config", help="the settings").add_subparsers(required=True, metavar="COMMAND")
    _add(config, "check", _config_check, "read the settings, the program and the TLS files, and say what is wrong")

    importing = _add(commands, "import", _import, "bring customers in from a .csv or .ndjson file")
    importing.epilog = _columns_help()
    importing.formatter_class = argparse.RawDescriptionHelpFormatter
    importing.add_argument("file", type=Path, metavar="FILE")

    exporting = _add(commands, "export", _export, "write all customers to a file that import reads back")
    exporting.add_argument("file", metavar="FILE", help="a .csv or .ndjson file, or - for NDJSON on stdout")
    exporting.add_argument("--format", choices=["ndjson", "csv"], help="whatever the file is called")

    _add(commands, "events", _events, "print the ledger's events with what became of each, as NDJSON")

    _add_customers(commands)

    _add_allowances(commands)

    terminals = commands.add_parser("terminals", help="the tills").add_subparsers(required=True, metavar="COMMAND")
    inviting = _add(terminals, "invite", _invite, "print a one-time code that makes a till of a store")
    inviting.add_argument("--store", required=True, type=_code, metavar="STORE", help="the store's id")
    inviting.add_argument("--name", default="", help="what people call the till")
    inviting.add_argument(
        "--qr", type=Path, metavar="FILE", help="draw the code and the hub's address as a PNG picture"
    )
    inviting.add_argument("--url", metavar="URL", help="the hub's address as tills call it; default: where it listens")
    _add(terminals, "list", _telling(list_terminals), "list the tills")
    _add(terminals, "revoke", _revoke, "refuse a till from now on").add_argument("terminal", metavar="ID")
    _add(
        terminals, "release", _release_terminal, "count what a quarantined till sent; you have seen to it that one runs"
    ).add_argument("terminal", metavar="ID")
    _add(terminals, "rotate", _rotate, "have a till take a new credential at its next hello").add_argument(
        "terminal", metavar="ID"
    )
    return parser


def _add_customers(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    customers = commands.add_parser("customers", help="one customer").add_subparsers(required=True, metavar="COMMAND")
    merging = _add(customers, "merge", _merge, "show two customers as one from now on: they are the same person")
    merging.add_argument("loser", metavar="LOSER", type=_code, help="goes on as a part of the other")
    merging.add_argument("winner", metavar="WINNER", type=_code, help="whose name and profile are shown")
    unmerging = _add(customers, "unmerge", _unmerge, "end a merge: each has its own cards and points again")
    unmerging.add_argument(
        "merge", metavar="LOSER", type=_code, help="the customer who was merged, or the merge's number"
    )
    _add(customers, "show", _show, "say what a customer is merged with, and their points").add_argument(
        "customer", metavar="ID", type=_code
    )
    erasing = _add(customers, "erase", _erase, "erase a person, here and on every till, for good")
    erasing.add_argument("customer", metavar="ID", type=_code, nargs="?")
    erasing.add_argument("--yes", action="store_true", help="do it; without, only say what would be erased")
    erasing.add_argument(
        "--status", action="store_true", help="list the erasures and the tills that have not heard yet"
    )
    _add(customers, "forget", _forget, "erase what was presented at a till and leads to nobody").add_argument(
        "file", type=Path, nargs="?", metavar="FILE", help="a card, phone or e-mail a line; default: standard input"
    )


def _add_allowances(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    allowances = commands.add_parser("allowances", help="points that tills hold").add_subparsers(
        required=True, metavar="COMMAND"
    )
    _add(allowances, "list", _telling(show_allowances), "list the points that tills hold")
    releasing = _add(allowances, "release", _release, "free what a till holds that will not come back")
    releasing.add_argument("terminal", metavar="ID")
    releasing.add_argument("--yes", action="store_true", help="do it; without, only say what would be freed")
    _add(allowances, "risks", _telling(show_risks), "list the points that stores gave beyond what customers had")
    recovery = commands.add_parser("recovery", help="the time after a backup was brought back").add_subparsers(
        required=True, metavar="COMMAND"
    )
    _add(
        recovery, "show", _telling(show_recovery), "say which tills the hub waits for before it grants allowances again"
    )
    ending = _add(recovery, "end", _end_recovery, "wait no longer for tills that have not come back")
    ending.add_argument("--yes", action="store_true", help="do it even though tills have not sent all")


def _add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, command: Command, meaning: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=meaning, description=f"{meaning[0].upper()}{meaning[1:]}.")
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help="default: %(default)s")
    parser.set_defaults(command=command)
    return parser


def _code(text: str) -> str:
    try:
        return _CODE.validate_python(text)
    except ValidationError:
        raise argparse.ArgumentTypeError("must be letters, digits and . _ : - and at most 64") from None


def _columns_help() -> str:
    lines = [
        "A .csv file names its columns in its first line; any may be left out but customer_id, given_name and",
        "language. A row is the whole truth about its customer: what is left out is empty from now on. Values in one",
        r"cell are split by | (written \| inside a value). A cell that begins with = + - @ may have a ' before it.",
        "An .ndjson file has one customer a line: the fields of a customer on the wire, and",
        '"identifiers": [{"scheme": "card", "value": "…"}], "points": 120.',
        "Bad rows are named by line and field, good ones are kept; the same file twice changes nothing.",
        "",
        "columns:",
    ]
    for column in COLUMNS:
        example = f"for example {column.example}" if column.example else ""
        first, *more = textwrap.wrap("; ".join(part for part in (column.meaning, example) if part), 92)
        lines.append(f"  {column.name:20} {first}")
        lines += [f"  {'':20} {line}" for line in more]
    return "\n".join(lines)


def _say(message: str, code: int) -> int:
    with suppress(OSError):
        for line in message.splitlines():
            print(f"loyalty-hub: {line}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(program())
