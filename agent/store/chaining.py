"""The chain over this terminal's events, where the next upload begins. SQL on the till's connection.

Each settled upload leaves the chain behind it, so nothing is read twice. Only where a hub came back from a backup, or a
file was salvaged, is it folded anew from the incarnation's first event.
"""

from agent.store.entries import Terminal
from agent.store.files import moment
from agent.store.pruning import gone_marker
from sync.contract.chain import CHAIN_LOST, chain_start, extend, link
from sync.contract.protocol import AppliedThrough
from sync.runtime.sqlite_file import Connection, Row

# Every place of the journal in order, as the text that stands there; null where it is kept no more, with its digest.
PLACES = (
    "SELECT event, recorded_at, digest FROM (SELECT position, recorded_at, event, NULL AS digest FROM journal"
    " UNION ALL SELECT position, recorded_at, NULL, digest FROM bygone)"
)


def text_at(terminal: Terminal, inc: str, seq: int, place: Row) -> str:
    """Return what is sent for a place of the journal: the event, or the marker for one that is kept no more."""
    event, recorded_at, digest = place
    if event is not None:
        return str(event)
    return gone_marker(terminal.terminal_id, terminal.store_id, inc, seq, moment(recorded_at), digest)


def chain_at_ack(connection: Connection, terminal: Terminal, inc: str) -> bytes:
    """Return the chain behind the last event of an incarnation that the hub has; CHAIN_LOST where it was lost here."""
    row = connection.execute(
        "SELECT first_position, acked_through, acked_chain FROM incarnations WHERE inc = ?", (inc,)
    ).fetchone()
    first_position, acked_through, kept = row or (1, 0, None)
    if kept is not None and acked_through:
        return bytes(kept)
    is_lost = connection.execute(
        "SELECT 1 FROM bygone WHERE digest IS NULL AND position >= ? AND position < ? LIMIT 1",
        (first_position, first_position + acked_through),
    ).fetchone()
    if is_lost:
        return CHAIN_LOST
    places = connection.execute(
        f"{PLACES} WHERE position >= ? AND position < ? ORDER BY position",
        (first_position, first_position + acked_through),
    )
    return extend(
        chain_start(terminal.terminal_id, inc),
        (link(text_at(terminal, inc, seq, place)) for seq, place in enumerate(places, start=1)),
    )


def adopt(connection: Connection, held: AppliedThrough) -> None:
    """Take the hub's word for the chain where an event before it is lost here with its digest, and only there."""
    if held.chain is None:
        return
    connection.execute(
        "UPDATE incarnations SET acked_chain = ?1 WHERE inc = ?2 AND acked_through = ?3 AND acked_chain IS NULL"
        " AND EXISTS (SELECT 1 FROM bygone WHERE digest IS NULL AND position >= first_position"
        " AND position < first_position + ?3)",
        (bytes.fromhex(held.chain), held.inc, held.through),
    )
