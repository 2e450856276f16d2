"""An upload's body as items to judge: each event's text as it is kept, and what it says if it can be read. Pure.

The address of an upload already says whose events they are and which seqs they have, so an event that contradicts it
is refused with its whole batch: that is a mix-up, not a bad event. Anything else that is wrong with an event is its own
verdict, because one bad event must not block the line.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from pydantic import ValidationError

from sync.contract.events import Event, Fact, UnknownEventType, canonical_json, event_id, event_source, read_fact
from sync.contract.protocol import BATCH_EVENTS_MAX, Reason
from sync.hub.judging.times import Claim


class NoBatch(ValueError):
    """The body is no JSON list of events."""


class WrongPlace(ValueError):
    """An event names another terminal, incarnation or seq than the address it was sent to."""


class TooMany(ValueError):
    """The batch holds more events than one upload may."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Whose stream it is: one incarnation of one terminal in one store; `public_key` where the terminal has one."""

    terminal_id: str
    store_id: str
    inc: str
    public_key: str | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """One event of an upload. Where `fact` is None, `fault` says why it could not be read.

    `claim` is None where not even the envelope could.
    """

    seq: int
    type: str
    raw: str
    subject: str | None = None
    fact: Fact | None = None
    fault: Reason | None = None
    claim: Claim | None = None


def read_batch(body: bytes, sender: Sender, first: int) -> tuple[Item, ...]:
    """Return the events of an upload whose first seq is `first`.

    Raises:
        NoBatch: the body is no JSON list of objects.
        TooMany: it holds more than BATCH_EVENTS_MAX.
        WrongPlace: an event belongs elsewhere.
    """
    documents = _list_of_objects(body)
    if len(documents) > BATCH_EVENTS_MAX:
        raise TooMany(f"at most {BATCH_EVENTS_MAX} events")
    return tuple(_read(document, sender, seq) for seq, document in enumerate(documents, start=first))


def read_item(raw: str, store_id: str, terminal_id: str, seq: int) -> Item:
    """Return an event that the books kept, as it reads today: after an upgrade an unknown type may be known."""
    return _judge_envelope(json.loads(raw), raw, event_source(store_id, terminal_id), seq)


def _list_of_objects(body: bytes) -> Sequence[dict[str, Any]]:
    try:
        documents = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):  # a broken text, or one that is nested or numbered beyond reason
        raise NoBatch("the body is not JSON in UTF-8") from None
    if not isinstance(documents, list) or not documents or not all(isinstance(item, dict) for item in documents):
        raise NoBatch("the body is not a list of at least one event")
    return documents


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


def _read(document: dict[str, Any], sender: Sender, seq: int) -> Item:
    place = (document.get("inc"), document.get("seq"), document.get("id"))
    if place != (sender.inc, seq, event_id(sender.terminal_id, sender.inc, seq)):
        raise WrongPlace(f"the event at seq {seq} of this address says that it belongs elsewhere")
    try:
        raw = canonical_json(document)
        raw.encode()
    except ValueError:  # a number that is infinite, or half a surrogate pair: such a text cannot be kept
        raise NoBatch(f"the event at seq {seq} holds a value that is not JSON in UTF-8") from None
    return _judge_envelope(document, raw, event_source(sender.store_id, sender.terminal_id), seq)


def _judge_envelope(document: dict[str, Any], raw: str, source: str, seq: int) -> Item:
    kind = document.get("type")
    if not isinstance(kind, str) or not kind.isprintable():
        return Item(seq, "", raw, fault=Reason.BAD_EVENT)
    try:
        event = Event.model_validate(document)
    except ValidationError:
        return Item(seq, kind, raw, fault=Reason.BAD_EVENT)
    claim = Claim(int(event.time.timestamp() * 1000), event.bootid, event.monoms)
    if event.source != source:
        return Item(seq, kind, raw, fault=Reason.BAD_EVENT, claim=claim)
    try:
        return Item(seq, kind, raw, event.subject, read_fact(event), claim=claim)
    except UnknownEventType:
        return Item(seq, kind, raw, fault=Reason.UNKNOWN_TYPE, claim=claim)
    except ValidationError:
        return Item(seq, kind, raw, fault=Reason.BAD_EVENT, claim=claim)
