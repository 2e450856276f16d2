"""What a person at the hub does with the points that tills hold, and what it cost. Each returns what to say.

All work beside a running hub, where its SQLite lets two programs write (`sync.hub.root.desk`), or without one; a
running hub tells the tills within a second.
"""

from sync.hub.books.redemption_rows import listed_risks
from sync.hub.commands.refusals import NotDone
from sync.hub.config import HubConfig
from sync.hub.escrow.allowances import listed, release, tell
from sync.hub.escrow.recovery import end, shown
from sync.hub.root import desk, reading_desk
from sync.runtime.clock import SystemClock
from sync.runtime.printing import counted
from sync.runtime.sqlite_file import Connection


async def show_allowances(config: HubConfig) -> str:
    """List the points that tills hold."""
    async with reading_desk(config) as reader:
        allowances = await reader.read(listed)
    lines = [
        f"{one.terminal_id:36}  {one.customer_id:24}  {one.rest:7} of {one.amount:7}  until "
        f"{one.expires_at:%Y-%m-%d %H:%M:%SZ}{'  recalled' if one.is_recalled else ''}"
        for one in allowances
    ]
    return "\n".join(lines) or "no till holds points"


async def release_allowances(config: HubConfig, terminal_id: str, *, is_sure: bool) -> str:
    """Let the points go that a till holds: it is lost, or will not come back.

    Raises:
        NotDone: it holds none, or the caller is not sure.
    """
    now_ms = int(SystemClock().now().timestamp() * 1000)
    async with desk(config) as (writer, _):
        held = [one for one in await writer.write(listed) if one.terminal_id == terminal_id]
        points = sum(one.rest for one in held)
        if not held:
            raise NotDone(f"{terminal_id} holds no points; see: loyalty-hub allowances list")
        if not is_sure:
            raise NotDone(
                f"this frees {counted(points, 'point')} that {terminal_id} may have spent, or may still spend, where "
                "nobody sees it; what is not free when its events come is the store's cost; to do it, add --yes"
            )

        def work(connection: Connection) -> tuple[int, int]:
            released = release(connection, terminal_id, now_ms)
            tell(connection, [terminal_id])
            return released

        number, points = await writer.write(work)
    return f"freed {counted(points, 'point')} in {counted(number, 'allowance')}"


async def show_risks(config: HubConfig) -> str:
    """List what stores gave beyond what customers had, by store and kind."""
    async with reading_desk(config) as reader:
        risks = await reader.read(listed_risks)
    return "\n".join(f"{store:24}  {kind:10}  {points}" for store, kind, points in risks) or "no store gave any"


async def show_recovery(config: HubConfig) -> str:
    """Say whether the hub waits for tills after it was brought back from a backup, and for which."""
    async with reading_desk(config) as reader:
        waiting = await reader.read(shown)
    if waiting is None:
        return "the hub is not recovering; allowances are granted"
    lines = [f"recovering until {waiting.until:%Y-%m-%d %H:%M:%SZ}; nothing is granted; waiting for:"]
    for terminal_id, name, has_spoken in waiting.terminals:
        lines.append(f"  {terminal_id:36}  {name:12}  {'its events' if has_spoken else 'its hello'}")
    return "\n".join(lines)


async def end_recovery(config: HubConfig, *, is_sure: bool) -> str:
    """Wait no longer for tills that have not come back since the hub was brought back from a backup.

    Raises:
        NotDone: the hub does not wait, or the caller is not sure.
    """
    async with desk(config) as (writer, _):
        waiting = await writer.write(shown)
        if waiting is None:
            raise NotDone("the hub is not recovering")
        if not is_sure and waiting.terminals:
            raise NotDone(
                f"{counted(len(waiting.terminals), 'till')} still to send all; points held there may be granted to "
                "others, and what is then spent twice is the store's cost; to do it, add --yes "
                "(who: loyalty-hub recovery show)"
            )
        await writer.write(end)
    return "recovery is over; what waited for it is judged by the running hub, or at its next start"
