"""The commands of `loyalty-agent`, each a function that is given the parsed arguments and returns the exit code.

What touches a running till goes through its API. What does not need one (settings, pictures, enrolment) works alone.
"""

import argparse
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from agent import keys, root, scan_files
from agent.codes import DEFAULT_SCHEME, CardNumber, CardScheme, read
from agent.config import Settings
from agent.imaging.decoder import Decoder
from agent.imaging.drawing import draw_card
from agent.till_client import TillNotRunning, till_client
from agent.version import VERSION
from sync.contract.invitations import is_invitation, read_invitation
from sync.contract.protocol import EnrolledBefore, EnrolRequest
from sync.hub_client import enrol as enrol_at_hub
from sync.hub_client import hub_address
from sync.hub_errors import HubError, HubSetupError
from sync.runtime.clock import SystemClock
from sync.runtime.printing import counted
from sync.runtime.settings import load
from sync.runtime.state_lock import AlreadyRunning, hold_folder
from sync.runtime.whole_file import whole_file

Command = Callable[[argparse.Namespace], Awaitable[int]]
_NO_CODE = "this is no enrolment code; type it as `loyalty-hub terminals invite` printed it, or scan its QR code"
# Longer than any invitation.
_SAID_CHARS_MAX = 2_000
COMPARED_LOOK_S = 0.5
_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"


class CommandError(Exception):
    """A command cannot be carried out; the message is one line for the person who asked."""


async def run(asked: argparse.Namespace) -> int:
    """Run the till until it is told to stop."""
    settings = load(asked.config, Settings)
    logging.basicConfig(level=settings.log.level.upper(), stream=sys.stderr, format=_LOG_FORMAT)
    await root.run(settings)
    return 0


async def config_check(asked: argparse.Namespace) -> int:
    """Say that the settings can be used; a fault is raised by `load`."""
    settings = load(asked.config, Settings)
    print(f"{asked.config}: good; state in {settings.till.state}, hub at {settings.hub.url}")  # noqa: T201
    return 0


async def enrol(asked: argparse.Namespace) -> int:
    """Make this terminal known to the hub, and keep what the hub gave it."""
    settings = load(asked.config, Settings)
    code = _code_of(await _said(asked), settings)
    with hold_folder(settings.lock_file):
        before = keys.enrolled_before(settings.enrolment_file, settings.journal_file)
        public_key = keys.terminal_key(settings.terminal_key_file).public
        request = _enrol_request(code, before, public_key)
        try:
            answer = await enrol_at_hub(settings.hub.url, request, settings.hub.ca_file)
        except HubError as error:
            raise CommandError(_why_not_enrolled(error, settings)) from error
        keys.write_enrolment(
            settings.enrolment_file, keys.Enrolment(hub_url=settings.hub.url, answer=answer, public_key=public_key)
        )
    print(f"enrolled as terminal {answer.terminal_id} of store {answer.store_id}")  # noqa: T201
    return 0


async def open_page(asked: argparse.Namespace) -> int:
    """Print the one-time address of the staff's page, or of the customer's display."""
    async with till_client(load(asked.config, Settings)) as till:
        print(await till.page_link(for_customer=asked.customer))  # noqa: T201
    return 0


async def scan(asked: argparse.Namespace) -> int:
    """Say what each picture file holds, one line per file."""
    line = scan_files.json_line if asked.json else scan_files.text_line
    scans = []
    async with Decoder() as decoder:
        async for file_scan in scan_files.scan_files(asked.files, decoder, _scheme(asked.config)):
            print(line(file_scan), flush=True)  # noqa: T201
            scans.append(file_scan)
    return scan_files.exit_code(scans)


async def card_draw(asked: argparse.Namespace) -> int:
    """Write a card as a picture."""
    meaning = read(asked.number, None, _scheme(asked.config))
    if not isinstance(meaning, CardNumber):
        raise CommandError("this is no card number of ours: check its length, its first digits and its last one")
    asked.output.write_bytes(draw_card(meaning.number))
    print(asked.output)  # noqa: T201
    return 0


async def outbox_list(asked: argparse.Namespace) -> int:
    """List what the hub has not taken, one line per event."""
    empty = True
    async with till_client(load(asked.config, Settings)) as till:
        async for row in till.outbox():
            empty = False
            print(_outbox_line(row))  # noqa: T201
    if empty:
        print("nothing waits: the hub has every event")  # noqa: T201
    return 0


async def outbox_export(asked: argparse.Namespace) -> int:
    """Write the outbox as NDJSON."""
    async with till_client(load(asked.config, Settings)) as till:
        if asked.output is None:
            async for piece in till.export():
                sys.stdout.buffer.write(piece)
            return 0
        with whole_file(asked.output) as file:
            async for piece in till.export():
                file.write(piece)
    print(asked.output)  # noqa: T201
    return 0


async def cache_compare(asked: argparse.Namespace) -> int:
    """Have the running till compare its customers with the hub's, and say what came of it."""
    clock = SystemClock()
    async with till_client(load(asked.config, Settings)) as till:
        before = (await till.cache_comparison())["compared_at"]
        await till.compare_cache()
        until_s = clock.monotonic() + asked.wait
        while (told := await till.cache_comparison())["compared_at"] == before:
            if clock.monotonic() >= until_s:
                raise CommandError("asked; the till compares when it is next in step with the hub; see its log")
            await clock.sleep(COMPARED_LOOK_S)
    accounts = told["accounts"]
    print(f"{counted(accounts, 'account')} put right" if accounts else "no difference")  # noqa: T201
    return 0


async def key_show(asked: argparse.Namespace) -> int:
    """Print the key of the point-of-sale software, made if there is none yet."""
    settings = load(asked.config, Settings)
    file = settings.pos_key_file
    print(keys.read_pos_key(file) if file.exists() else _made_key(settings))  # noqa: T201
    return 0


async def key_rotate(asked: argparse.Namespace) -> int:
    """Replace the key: by the running till, or in its file where none runs."""
    settings = load(asked.config, Settings)
    try:
        async with till_client(settings) as till:
            await till.rotate_key()
    except TillNotRunning:
        _made_key(settings)
    print(f"new key in {settings.pos_key_file}; give it to the point-of-sale software")  # noqa: T201
    return 0


def _made_key(settings: Settings) -> str:
    """Return a new key, made where no till runs: one that does would not know it."""
    file = settings.pos_key_file
    try:
        with hold_folder(settings.lock_file):
            return keys.new_pos_key(file, settings.api.key_group)
    except AlreadyRunning as error:
        if file.exists():
            raise
        raise CommandError(
            f"{file} is missing, and a till runs here that knows only that key; restart it, and it makes a new one"
        ) from error


async def _said(asked: argparse.Namespace) -> str:
    """Return the code, or the text that holds it: given, in a picture, or typed now, as a hand scanner does."""
    if asked.image is not None:
        async with Decoder() as decoder:
            texts = await scan_files.texts_in(asked.image, decoder)
        invitations = [text for text in texts if is_invitation(text)]
        if len(set(invitations)) != 1:
            raise CommandError(
                f"{asked.image} holds {'no enrolment code' if not invitations else 'several enrolment codes'}; "
                "draw one with `loyalty-hub terminals invite --qr`"
            )
        return invitations[0]
    if asked.code is not None:
        return str(asked.code)
    return _typed("type or scan the enrolment code:")


def _typed(asked_for: str) -> str:
    """Return the line that a person types, or a scanner. Nothing else goes on meanwhile, so the loop may stand still.

    In a thread, Ctrl-C would end the wait for the thread and not the thread's for Enter.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        print(asked_for, file=sys.stderr, flush=True)  # noqa: T201
        return sys.stdin.readline(_SAID_CHARS_MAX)
    except KeyboardInterrupt:
        raise CommandError("no code was given; nothing was changed") from None
    finally:
        signal.signal(signal.SIGINT, before)


def _code_of(said: str, settings: Settings) -> str:
    """Return the one-time code of what was said; an invitation of another hub is no way to change the hub."""
    said = said.strip()
    if not is_invitation(said):
        if not said or set(said) & set(":/@"):
            raise CommandError(_NO_CODE)
        return said
    invitation = read_invitation(said)
    if invitation is None:
        raise CommandError(_NO_CODE)
    try:
        is_ours = hub_address(invitation.hub_url) == hub_address(settings.hub.url)
    except HubSetupError:
        raise CommandError(_NO_CODE) from None
    if not is_ours:
        raise CommandError(
            f"this code is of the hub at {invitation.hub_url}, and hub.url is {settings.hub.url}; "
            "where that is right, change hub.url and try again"
        )
    return invitation.code


def _enrol_request(code: str, before: EnrolledBefore | None, public_key: str) -> EnrolRequest:
    try:
        return EnrolRequest(code=code, agent_version=VERSION, before=before, public_key=public_key)
    except ValidationError:
        raise CommandError(_NO_CODE) from None


def _why_not_enrolled(error: HubError, settings: Settings) -> str:
    """Return what went wrong and the next step, for the person who typed the code."""
    if error.code == "code_refused":
        return (
            "the hub refused the code: it is wrong, used, too old or was tried too often; "
            "type it again, or ask for a new one with `loyalty-hub terminals invite`"
        )
    if error.code == "other_terminal":
        return (
            f"the hub does not know {settings.till.state} as a terminal of this store; ask for a code of the store it "
            "was enrolled for, or set till.state to a new folder and enrol that as a new terminal"
        )
    if error.code == "certificate":
        return f"the certificate of {settings.hub.url} is not trusted; check hub.url and hub.ca_file"
    return f"{error}; asked {settings.hub.url}: check hub.url and the line, then try again"


def _outbox_line(row: Mapping[str, Any]) -> str:
    """Return an event as one line: when, where it is, what it did, to what, and why it is not through."""
    ids = [f"{key.removesuffix('_id')} {row[key]}" for key in ("reversal_id", "sale_id", "redemption_id") if row[key]]
    what = " of ".join(ids) or row["type"]
    reason = f"  {row['reason_text']['en']}" if row["reason_text"] else ""
    noun = "point" if abs(row["points"]) == 1 else "points"
    return f"{row['recorded_at']}  {row['state']:<8}  {row['points']:+d} {noun}  {what}{reason}"


def _scheme(config: Path | None) -> CardScheme:
    return load(config, Settings).cards.scheme() if config else DEFAULT_SCHEME
