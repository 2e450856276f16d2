"""`loyalty-agent`, the command line of a terminal: parses, calls one function, turns what happened into an exit code.

0 done, 1 it could not be done, 2 it was asked for wrongly (usage or settings). An error is one clear line on stderr.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from agent import commands
from agent.codes import CardSchemeError
from agent.imaging.errors import ImagingError
from agent.keys import KeyFileError
from agent.till_client import TillNotRunning, TillRefused
from agent.version import VERSION
from sync.hub_errors import HubError, HubSetupError
from sync.runtime.error_places import told_as_bug
from sync.runtime.heap import search_seldom
from sync.runtime.http_server import ServeError
from sync.runtime.printing import file_fault, until_unread
from sync.runtime.settings import SettingsError
from sync.runtime.sqlite_file import DatabaseError
from sync.runtime.state_lock import AlreadyRunning

_CONFIG_DEFAULT = Path("config.toml")
_EXIT_FAILED, _EXIT_USAGE = 1, 2
_WAIT_S_MAX = 86_400
_SAID = (
    AlreadyRunning,
    commands.CommandError,
    DatabaseError,
    HubError,
    HubSetupError,
    ImagingError,
    KeyFileError,
    ServeError,
    TillNotRunning,
    TillRefused,
)


def program() -> int:
    """Be the program of this process: run the command of its own command line and return its exit code."""
    search_seldom()
    return main()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    return until_unread(lambda: _run_command(arguments), _EXIT_FAILED)


def _run_command(arguments: Sequence[str] | None) -> int:
    asked = _parser().parse_args(arguments)
    try:
        code: int = asyncio.run(asked.run(asked))
    except (SettingsError, CardSchemeError) as error:
        print(error, file=sys.stderr)
        return _EXIT_USAGE
    except _SAID as error:
        print(f"loyalty-agent: {error}", file=sys.stderr)
        return _EXIT_FAILED
    except BrokenPipeError:
        raise
    except OSError as error:
        print(f"loyalty-agent: {file_fault(error)}", file=sys.stderr)
        return _EXIT_FAILED
    except KeyboardInterrupt:
        return _EXIT_FAILED
    except Exception as error:  # noqa: BLE001 - Python's own last words would quote what the failing code held
        print(f"loyalty-agent: {told_as_bug(error)}", file=sys.stderr)
        return _EXIT_FAILED
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="loyalty-agent",
        description="The till that remembers: shows who a loyalty card belongs to and credits points, line or no line.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {VERSION}")
    groups = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    run = _command(groups, "run", "run the till until Ctrl-C or SIGTERM", commands.run)
    _takes_config(run)
    config = groups.add_parser("config", help="look at the settings").add_subparsers(metavar="COMMAND", required=True)
    _takes_config(_command(config, "check", "read the settings and say what is wrong with them", commands.config_check))
    enrol = _command(groups, "enrol", "make this terminal known to the hub", commands.enrol)
    how = enrol.add_mutually_exclusive_group()
    how.add_argument(
        "code",
        metavar="CODE",
        nargs="?",
        help="one-time code from `loyalty-hub terminals invite`, or the text of its QR code; without, it is asked for",
    )
    how.add_argument("--image", metavar="FILE", type=Path, help="a picture of the QR code")
    _takes_config(enrol)
    page = _command(groups, "open", "print a one-time address that opens the staff's page", commands.open_page)
    page.add_argument("--customer", action="store_true", help="the customer's display instead")
    _takes_config(page)

    scan = _command(groups, "scan", "read the codes in picture files", commands.scan)
    scan.add_argument("files", metavar="FILE", nargs="+", type=Path, help="PNG, JPEG, WebP, GIF or BMP")
    scan.add_argument("--json", action="store_true", help="one JSON line per file")
    _takes_config(scan, required=False)
    card = groups.add_parser("card", help="make cards").add_subparsers(metavar="COMMAND", required=True)
    draw = _command(card, "draw", "draw a card as a PNG picture", commands.card_draw)
    draw.add_argument("number", metavar="NUMBER", help="an own card number; spaces between digits are allowed")
    draw.add_argument("-o", "--output", metavar="FILE", type=Path, required=True, help="the picture to write")
    _takes_config(draw, required=False)

    outbox = groups.add_parser("outbox", help="events the hub has not taken").add_subparsers(
        metavar="COMMAND", required=True
    )
    _takes_config(_command(outbox, "list", "list what waits, is held, refused or withheld", commands.outbox_list))
    export = _command(outbox, "export", "write the same events as NDJSON of CloudEvents", commands.outbox_export)
    export.add_argument("-o", "--output", metavar="FILE", type=Path, help="the file to write; default: standard output")
    _takes_config(export)
    cache = groups.add_parser("cache", help="the customers that this till holds").add_subparsers(
        metavar="COMMAND", required=True
    )
    compare = _command(cache, "compare", "compare them with the hub's", commands.cache_compare)
    compare.add_argument(
        "--wait", metavar="SECONDS", type=_seconds, default=60.0, help="how long to wait for the result"
    )
    _takes_config(compare)
    key = groups.add_parser("key", help="the key of the point-of-sale software").add_subparsers(
        metavar="COMMAND", required=True
    )
    _takes_config(_command(key, "show", "print the key", commands.key_show))
    _takes_config(_command(key, "rotate", "make a new key; the old one ends at once", commands.key_rotate))
    return parser


def _command(
    group: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, says: str, run: commands.Command
) -> argparse.ArgumentParser:
    parser = group.add_parser(name, help=says, description=says[0].upper() + says[1:] + ".")
    parser.set_defaults(run=run)
    return parser


def _seconds(text: str) -> float:
    """Return a time to wait: from 0 s to a day."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= _WAIT_S_MAX:
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds from 0 to {_WAIT_S_MAX}")
    return seconds


def _takes_config(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    default = _CONFIG_DEFAULT if required else None
    says = f"settings file (default: {_CONFIG_DEFAULT})" if required else "settings file, for the chain's card numbers"
    parser.add_argument("--config", metavar="FILE", type=Path, default=default, help=says)


if __name__ == "__main__":
    sys.exit(program())
