"""A terminal without a store: writes events by hand and puts them on the wire, for tests of a hub from outside."""

import gzip
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from sync.contract.allowance import AllowancesRequest, AllowancesWord, HeldAllowance, Want
from sync.contract.chain import chain_start, extend, link
from sync.contract.events import (
    ALLOWANCE_RETURNED,
    EARNED,
    EVENT_TYPES,
    REDEEMED,
    REDEMPTION_REVERSED,
    REVERSED,
    canonical_json,
    event_id,
    event_source,
)
from sync.contract.identifiers import Identifier, Scheme, identifier_id
from sync.contract.program import SaleLine, earn
from sync.contract.protocol import (
    BATCH_BYTES_MAX,
    BATCH_CONTENT_TYPE,
    BATCH_EVENTS_MAX,
    EPOCH_HEADER,
    EnrolAnswer,
    EnrolledBefore,
    EnrolRequest,
    FeedPage,
    HelloAnswer,
    HelloRequest,
    IncarnationLength,
    PresentedIdentifier,
    UploadAnswer,
    Verdict,
)
from sync.contract.signing import SEED_BYTES, Prover, SigningKey
from sync.contract.versions import PROTOCOLS
from sync.hub_client import HubClient, enrol
from sync.pump.ports import Batch

NOW = datetime(2026, 3, 9, 9, 0, tzinfo=UTC)


def random_inc() -> str:
    return secrets.token_hex(8)


def random_key() -> SigningKey:
    return SigningKey(secrets.token_bytes(SEED_BYTES))


class KnownCustomer(NamedTuple):
    """A customer whom the hub knows, and the card that leads to them."""

    customer_id: str
    card: str


@dataclass
class Stream:
    """One incarnation of a terminal: events with seqs from 1 on, written one after the other."""

    till: "WireTill"
    inc: str = field(default_factory=random_inc)
    events: list[str] = field(default_factory=list)

    def sale(self, card: str, net_minor: int = 1_000, /, **changes: Any) -> str:
        """Write a sale of one line on a card; return its sale_id."""
        program = self.till.enrolment.program
        (points,) = earn(program, [SaleLine(quantity="1", net_minor=net_minor)])
        data = {
            "sale_id": f"sale-{secrets.token_hex(6)}",
            "program_version": program.version,
            "currency": program.currency,
            "net_minor": net_minor,
            "tax_minor": 0,
            "lines": [{"quantity": "1", "net_minor": net_minor, "points": points}],
            "points": points,
        } | changes
        self.write(EARNED, data, subject=self.till.card_id(card))
        return str(data["sale_id"])

    def reversal(self, sale_id: str, reversal_id: str | None = None) -> str:
        """Write a reversal of a sale; return its reversal_id."""
        reversal_id = reversal_id or f"reversal-{secrets.token_hex(6)}"
        self.write(REVERSED, {"reversal_id": reversal_id, "sale_id": sale_id})
        return reversal_id

    def redemption(self, card: str, shares: Mapping[str, int], redemption_id: str | None = None, **changes: Any) -> str:
        """Write a redemption that these allowances pay; return its redemption_id."""
        redemption_id = redemption_id or f"redemption-{secrets.token_hex(6)}"
        data = {
            "redemption_id": redemption_id,
            "points": sum(shares.values()),
            "program_version": self.till.enrolment.program.version,
            "shares": [{"allowance_id": one, "points": points} for one, points in shares.items()],
        } | changes
        self.write(REDEEMED, data, subject=self.till.card_id(card))
        return redemption_id

    def undoing(self, redemption_id: str, reversal_id: str | None = None) -> None:
        """Write a redemption's reversal."""
        reversal_id = reversal_id or f"reversal-{secrets.token_hex(6)}"
        self.write(REDEMPTION_REVERSED, {"reversal_id": reversal_id, "redemption_id": redemption_id})

    def give_back(self, allowance_id: str) -> None:
        """Write an allowance's return."""
        self.write(ALLOWANCE_RETURNED, {"allowance_id": allowance_id})

    def write(self, kind: str, data: Mapping[str, Any], **changes: Any) -> None:
        """Write any event."""
        seq = len(self.events) + 1
        terminal_id, store_id = self.till.enrolment.terminal_id, self.till.enrolment.store_id
        envelope = {
            "specversion": "1.0",
            "id": event_id(terminal_id, self.inc, seq),
            "source": event_source(store_id, terminal_id),
            "type": kind,
            "time": NOW.isoformat(),
            "datacontenttype": "application/json",
            "inc": self.inc,
            "seq": seq,
            "bootid": "boot-1",
            "monoms": 1,
            "data": data,
        }
        self.events.append(canonical_json(envelope | changes))

    def batch(self, first: int = 1, last: int | None = None) -> Batch:
        start = chain_start(self.till.enrolment.terminal_id, self.inc)
        before = extend(start, map(link, self.events[: first - 1]))
        return Batch(self.inc, first, tuple(self.events[first - 1 : last]), before)

    async def put(
        self, first: int = 1, last: int | None = None, epoch: str | None = None, *, before: bytes | None = None
    ) -> UploadAnswer:
        """Upload a part of the stream, by default all of it; return the last answer, with the results of all.

        It takes as many requests as the hub's limits ask for, and goes on where the hub judged only a first part.
        Each says that the chain `before` it is the true one, or the one that is given.
        """
        last = last or len(self.events)
        results: list[Verdict] = []
        while True:
            batch = self.batch(first, self._fitting(first, last))
            batch = batch if before is None else replace(batch, before=before)
            answer = await self.till.client.upload(batch, epoch or self.till.epoch)
            assert 0 < len(answer.results) <= len(batch.events), "one result for each event that was judged"
            results += answer.results
            first += len(answer.results)
            if first > last:
                return answer.model_copy(update={"results": tuple(results)})

    def _fitting(self, first: int, last: int) -> int:
        """Return the seq up to which events from `first` on fit into one upload of this hub."""
        last, size = min(last, first + self.till.batch_events_max - 1), 0
        for seq in range(first, last + 1):
            size += len(self.events[seq - 1].encode())
            if size > self.till.batch_bytes_max:
                return max(seq - 1, first)
        return last


@dataclass
class WireTill:
    """An enrolled terminal."""

    url: str
    enrolment: EnrolAnswer
    session: aiohttp.ClientSession
    key: SigningKey = field(default_factory=random_key)
    run: str = field(default_factory=random_inc)
    credential: str = ""
    # As the newest hello says.
    batch_events_max: int = BATCH_EVENTS_MAX
    batch_bytes_max: int = BATCH_BYTES_MAX

    def __post_init__(self) -> None:
        self.credential = self.enrolment.credential
        self.epoch = self.enrolment.hub_epoch
        prover = Prover(self.run, self.key)
        terminal_id = self.enrolment.terminal_id
        self.client = HubClient(self.session, self.url, terminal_id, lambda: self.credential, prover=prover)

    def card_id(self, number: str) -> str:
        return identifier_id(bytes.fromhex(self.enrolment.identifier_key), Scheme.CARD, number)

    def presented(self, number: str) -> PresentedIdentifier:
        return PresentedIdentifier(id=self.card_id(number), identifier=Identifier(scheme=Scheme.CARD, value=number))

    def stream(self) -> Stream:
        return Stream(self)

    async def hello(
        self,
        *told: IncarnationLength,
        protocols: Sequence[str] = PROTOCOLS,
        held: Sequence[HeldAllowance] = (),
        hub_epoch: str | None = None,
        cursor: str | None = None,
    ) -> HelloAnswer:
        answer = await self.client.hello(
            HelloRequest(
                protocols=tuple(protocols),
                agent_version="0.1.0",
                event_types=EVENT_TYPES,
                cursor=cursor,
                hub_epoch=hub_epoch,
                incarnations=told,
                waiting=0,
                oldest_waiting_s=0,
                wall=datetime.now(UTC),
                monoms=1,
                bootid="boot-1",
                public_key=self.key.public,
                running=self.run,
                allowances=tuple(held),
            )
        )
        self.batch_events_max, self.batch_bytes_max = answer.max_batch_events, answer.max_batch_bytes
        return answer

    async def allowances(self, *want: Want, prefetch: bool = False) -> AllowancesWord:
        """Ask for points, and return the hub's word on all that this terminal holds."""
        return await self.client.allowances(self.epoch, AllowancesRequest(want=want, prefetch=prefetch))

    async def feed_start(self) -> str:
        """Return a cursor at the feed's end."""
        cursor = (await self.client.snapshot_manifest(self.epoch)).cursor
        return (await self.pages(cursor))[-1].cursor

    async def pages(self, cursor: str, limit: int = 500) -> list[FeedPage]:
        """Return all pages from a cursor to the feed's end."""
        pages = []
        more = True
        while more:
            page = await self.client.feed(cursor, self.epoch, limit=limit, wait_s=0)
            pages.append(page)
            cursor, more = page.cursor, page.more
        return pages

    async def raw_put(self, path: str, body: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
        """PUT anything anywhere below /v1/streams; return the status and the JSON answer."""
        sent = {
            "Authorization": f"Bearer {self.credential}",
            "Content-Type": BATCH_CONTENT_TYPE,
            EPOCH_HEADER: self.epoch,
        } | {name.replace("_", "-"): text for name, text in headers.items()}
        sent = {name: text for name, text in sent.items() if text}
        async with self.session.put(f"{self.url}/v1/streams/{path}", data=body, headers=sent) as response:
            return response.status, await _document(response)

    async def raw_hello(self, **changes: Any) -> tuple[int, dict[str, Any]]:
        """Say a hello with other members, of any kind; return the status and the JSON answer, as they came."""
        hello: dict[str, Any] = {
            "protocols": list(PROTOCOLS),
            "agent_version": "0.1.0",
            "event_types": list(EVENT_TYPES),
            "incarnations": [],
            "held": [],
            "allowances": [],
            "waiting": 0,
            "oldest_waiting_s": 0,
            "wall": datetime.now(UTC).isoformat(),
            "monoms": 1,
            "bootid": "boot-1",
            "running": self.run,
            "public_key": self.key.public,
        }
        headers = {"Authorization": f"Bearer {self.credential}"}
        async with self.session.post(f"{self.url}/v1/hello", json=hello | changes, headers=headers) as response:
            return response.status, await _document(response)


async def _document(response: aiohttp.ClientResponse) -> dict[str, Any]:
    """Return the JSON object of an answer, which the session leaves packed."""
    raw = await response.read()
    packed = response.headers.get("Content-Encoding") == "gzip"
    document: dict[str, Any] = json.loads(gzip.decompress(raw) if packed else raw)
    return document


def enrolling(code: str, before: EnrolledBefore | None = None, key: SigningKey | None = None) -> EnrolRequest:
    """Return what a terminal asks for with a code, by default with a new key."""
    return EnrolRequest(code=code, agent_version="0.1.0", public_key=(key or random_key()).public, before=before)


async def enrolled(url: str, code: str, session: aiohttp.ClientSession, ca_file: Path | None = None) -> WireTill:
    """Turn a code into a terminal that signs with a key of its own."""
    key = random_key()
    return WireTill(url, await enrol(url, enrolling(code, key=key), ca_file), session, key)


def random_card() -> str:
    return "9990" + "".join(secrets.choice("0123456789") for _ in range(12))
