"""What a person at the hub does with terminals. Each returns what to say.

All work beside a running hub, where its SQLite lets two programs write (`sync.hub.root.desk`), or without one.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sync.contract.invitations import Invitation, write_invitation
from sync.hub.commands.refusals import NotDone, WrongCall
from sync.hub.config import HubConfig, is_loopback
from sync.hub.root import desk, reading_desk
from sync.hub.terminals.invitation_qr import draw_qr
from sync.hub.terminals.roster import Listed, Place, ask_to_rotate, invite, listed, new_code, revoke
from sync.hub.uploads.fences import is_quarantined
from sync.hub.uploads.quarantine import Released, release_step
from sync.hub_client import hub_address
from sync.hub_errors import HubSetupError
from sync.runtime.clock import SystemClock
from sync.runtime.printing import counted
from sync.runtime.state_lock import write_private


@dataclass(frozen=True, slots=True)
class Invited:
    """A one-time code to be typed, or scanned from the picture."""

    code: str
    picture: Path | None


async def invite_terminal(config: HubConfig, place: Place, picture: Path | None, url: str | None) -> Invited:
    """Make a one-time code, and draw it with the hub's address where a picture is asked for.

    Raises:
        WrongCall: the hub's address is not known, or is none that a till would call.
        NotDone: the picture cannot be written; no invitation was made.
    """
    address = _address(config, url) if picture is not None else ""
    if picture is not None and not picture.parent.is_dir():
        raise NotDone(f"{picture.parent}: there is no such folder; make it and try again. No invitation was made")
    code, clock = new_code(), SystemClock()
    async with desk(config) as (writer, _):
        if picture is not None:
            # Before the code serves: one that nobody gets to see must not be valid for ten minutes.
            await _draw(picture, Invitation(code, address))
        await writer.write(lambda connection: invite(connection, code, place, clock.now()))
    return Invited(code, picture)


async def list_terminals(config: HubConfig) -> str:
    """List the terminals, one a line."""
    async with reading_desk(config) as reader:
        terminals = await reader.read(listed)
    lines = [f"{'TERMINAL':36}  {'STORE':12}  {'NAME':12}  {'STATE':11}  {'LAST HELLO':20}  WAITING"]
    for terminal in terminals:
        waiting = "" if terminal.waiting is None else str(terminal.waiting)
        lines.append(
            f"{terminal.terminal_id:36}  {terminal.store_id:12}  {terminal.name:12}  {_state(terminal):11}  "
            f"{_when(terminal.hello_at):20}  {waiting}"
        )
    return "\n".join(lines)


async def revoke_terminal(config: HubConfig, terminal_id: str) -> str:
    """Refuse a terminal from now on.

    Raises:
        NotDone: there is no such terminal.
    """
    now = SystemClock().now()
    async with desk(config) as (writer, _):
        if not await writer.write(lambda connection: revoke(connection, terminal_id, now)):
            raise _no_such(terminal_id)
    return f"{terminal_id} is refused from now on"


async def rotate_credential(config: HubConfig, terminal_id: str) -> str:
    """Have a terminal take a new credential at its next hello.

    Raises:
        NotDone: there is no such terminal.
    """
    async with desk(config) as (writer, _):
        if not await writer.write(lambda connection: ask_to_rotate(connection, terminal_id)):
            raise _no_such(terminal_id)
    return f"{terminal_id} takes a new credential at its next hello"


async def release_terminal(config: HubConfig, terminal_id: str) -> str:
    """End a quarantine: judge all that was parked, as if it came now. Broken off, it goes on at the next call.

    Raises:
        NotDone: the terminal is not quarantined.
    """
    clock = SystemClock()
    done = Released()
    async with desk(config) as (writer, _):
        if not await writer.write(lambda connection: is_quarantined(connection, terminal_id)):
            raise NotDone(f"{terminal_id} is not quarantined; see: loyalty-hub terminals list")
        while (step := await writer.write(lambda c: release_step(c, terminal_id, clock.now()))).total:
            done += step
    return (
        f"{terminal_id} is released: {counted(done.applied, 'event')} counted, {done.rejected} refused, "
        f"{done.parked} still held. "
        "If two tills run on copies of one disk, switch one off, empty its state folder and enrol it as another till, "
        "and restart the one that goes on: else it happens again"
    )


async def _draw(picture: Path, invitation: Invitation) -> None:
    try:
        await asyncio.to_thread(write_private, picture, draw_qr(write_invitation(invitation)))
    except OSError as error:  # it names the file beside the picture, which nobody has heard of
        raise NotDone(f"{picture} cannot be written: {error.strerror}. No invitation was made") from error


def _address(config: HubConfig, url: str | None) -> str:
    hub = config.hub
    if url is None:
        if hub.port == 0 or not is_loopback(hub.host):
            raise WrongCall("a till must know where the hub is: give its address, --url https://hub.example.com")
        host = f"[{hub.host}]" if ":" in hub.host else hub.host
        url = f"{'http' if hub.tls_certificate is None else 'https'}://{host}:{hub.port}"
    try:
        return str(hub_address(url))
    except HubSetupError as error:
        raise WrongCall(f"--url: {error}") from None


def _state(terminal: Listed) -> str:
    if terminal.revoked_at:
        return "revoked"
    return "quarantined" if terminal.quarantined_at else "enrolled"


def _when(at: datetime | None) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%SZ") if at else "never"


def _no_such(terminal_id: str) -> NotDone:
    return NotDone(f"{terminal_id}: no such terminal (or revoked); see: loyalty-hub terminals list")
