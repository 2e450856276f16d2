"""Held events at a hello: the verdicts that a terminal jumped over, and none that its feed still says."""

import secrets
from datetime import UTC, datetime

from sync.contract.events import EVENT_TYPES
from sync.contract.protocol import HeldEvent, HelloAnswer, HelloRequest, Outcome, OutcomePut
from sync.contract.versions import PROTOCOLS
from tests.support.wire_till import WireTill, random_card


async def hello(till: WireTill, cursor: str | None, *held: HeldEvent) -> HelloAnswer:
    request = HelloRequest(
        protocols=PROTOCOLS,
        agent_version="0.1.0",
        event_types=EVENT_TYPES,
        cursor=cursor,
        held=held,
        waiting=0,
        oldest_waiting_s=0,
        wall=datetime.now(UTC),
        monoms=1,
        bootid="boot-1",
        public_key=till.key.public,
        running=till.run,
    )
    return await till.client.hello(request)


async def test_a_terminal_is_told_at_its_hello_what_it_jumped_over(till: WireTill) -> None:
    stream = till.stream()
    start = await till.feed_start()
    sale_id = f"sale-{secrets.token_hex(6)}"  # one that comes later
    stream.reversal(sale_id)
    stream.reversal(f"never-{secrets.token_hex(6)}")
    answer = await stream.put()
    assert [verdict.outcome for verdict in answer.results] == [Outcome.PARKED, Outcome.PARKED]
    held = tuple(HeldEvent(inc=stream.inc, seq=seq) for seq in (1, 2))
    stream.sale(random_card(), sale_id=sale_id)
    await stream.put(3)

    assert (await hello(till, start, *held)).outcomes == ()
    assert (await hello(till, None, *held)).outcomes == ()
    jumped = await hello(till, await till.feed_start(), *held)
    assert [(put.inc, put.verdict.seq, put.verdict.outcome) for put in jumped.outcomes] == [
        (stream.inc, 1, Outcome.APPLIED)
    ]
    pages = await till.pages(start)
    assert [put.verdict.seq for page in pages for put in page.changes if isinstance(put, OutcomePut)] == [1]
