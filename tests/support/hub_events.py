"""Events as a terminal journals them, made by hand for tests of the hub's rooms."""

from collections.abc import Mapping
from typing import Any

from sync.contract.events import EARNED, REVERSED, canonical_json, event_id, event_source
from sync.contract.program import EarnRule, Program, SaleLine, earn
from sync.hub.uploads.batch import Sender

PROGRAM = Program(version=1, currency="CAD", earn=EarnRule(points=1, per_minor=100))
CARD = "c" * 32
SENDER = Sender("till-1", "store-1", "0" * 16)


def sale_data(sale_id: str, *net_minor: int, **changes: Any) -> dict[str, Any]:
    """Return the data of a sale of lines with these net amounts, with its points by the rules."""
    lines = [SaleLine(quantity="1", net_minor=net) for net in net_minor]
    points = earn(PROGRAM, lines)
    return {
        "sale_id": sale_id,
        "program_version": 1,
        "currency": "CAD",
        "net_minor": sum(net_minor),
        "tax_minor": 0,
        "lines": [
            {"quantity": "1", "net_minor": net, "points": share} for net, share in zip(net_minor, points, strict=True)
        ],
        "points": sum(points),
    } | changes


def event(sender: Sender, seq: int, kind: str, data: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """Return an event of that terminal as its JSON object."""
    return {
        "specversion": "1.0",
        "id": event_id(sender.terminal_id, sender.inc, seq),
        "source": event_source(sender.store_id, sender.terminal_id),
        "type": kind,
        "time": "2026-03-09T09:00:00Z",
        "datacontenttype": "application/json",
        "inc": sender.inc,
        "seq": seq,
        "bootid": "boot-1",
        "monoms": 1,
        "data": dict(data),
    } | changes


def sale(sender: Sender, seq: int, sale_id: str, subject: str = CARD, net_minor: int = 1_000, **changes: Any) -> str:
    """Return a sale as journalled; `changes` are of its data."""
    return canonical_json(event(sender, seq, EARNED, sale_data(sale_id, net_minor, **changes), subject=subject))


def reversal(sender: Sender, seq: int, reversal_id: str, sale_id: str) -> str:
    """Return a reversal as journalled."""
    return canonical_json(event(sender, seq, REVERSED, {"reversal_id": reversal_id, "sale_id": sale_id}))


def body(*events: str) -> bytes:
    """Return the body of an upload."""
    return f"[{','.join(events)}]".encode()
