"""Tills that are older or newer than the hub: their events are taken, whatever they may download."""

import json
from pathlib import Path

import pytest

from sync.contract.events import EARNED, canonical_json
from sync.contract.protocol import HelloAnswer, HelloRequest, Outcome
from sync.contract.versions import PROTOCOLS
from sync.hub.root import Hub, running
from sync.hub_errors import HubRefused
from tests.support.hub_tills import config_of, till_of
from tests.support.wire_till import NOW, WireTill, random_card


async def hello(till: WireTill, version: str) -> HelloAnswer:
    return await till.client.hello(
        HelloRequest(
            protocols=PROTOCOLS,
            agent_version=version,
            event_types=(EARNED,),
            waiting=0,
            oldest_waiting_s=0,
            wall=NOW,
            monoms=1,
            bootid="boot-1",
        )
    )


async def kept(hub: Hub) -> list[tuple[str, int]]:
    return await hub.reader.read(lambda connection: connection.execute("SELECT raw, points FROM events").fetchall())


async def test_an_old_agents_events_are_taken_while_its_downloads_stop(tmp_path: Path) -> None:
    async with running(config_of(tmp_path, min_agent="0.2")) as hub, till_of(hub) as till:
        await hello(till, "0.2.0")
        cursor = await till.feed_start()
        assert (await hello(till, "0.1.9")).min_agent == "0.2"
        stream = till.stream()
        stream.sale(random_card())
        assert [verdict.outcome for verdict in (await stream.put()).results] == [Outcome.APPLIED]
        assert (await till.client.send_identifiers(till.epoch, [till.presented(random_card())])).known == ()

        for download in (
            till.client.feed(cursor, till.epoch, limit=1, wait_s=0),
            till.client.snapshot_manifest(till.epoch),
            till.client.snapshot_manifest(till.epoch, "0" * 32),
            till.client.snapshot_chunk(till.epoch, "0" * 32, 1),
        ):
            with pytest.raises(HubRefused, match="upgrade_required") as refused:
                await download
            assert refused.value.members["min_agent"] == "0.2"

        await hello(till, "0.2.0")
        assert [page.covered for page in await till.pages(cursor)] == [{stream.inc: 1}]


async def test_a_hub_that_wants_no_version_gives_to_all(tmp_path: Path) -> None:
    async with running(config_of(tmp_path)) as hub, till_of(hub) as till:
        assert (await hello(till, "0.0.1")).min_agent is None
        await till.pages(await till.feed_start())


async def test_a_hub_without_a_common_protocol_names_its_own(tmp_path: Path) -> None:
    async with running(config_of(tmp_path)) as hub, till_of(hub) as till:
        with pytest.raises(HubRefused, match="protocol_unknown") as refused:
            await till.hello(protocols=("storesync/9",))

    assert refused.value.members["protocols"] == list(PROTOCOLS)


async def test_what_a_newer_till_adds_to_an_event_is_kept_and_its_points_count(tmp_path: Path) -> None:
    async with running(config_of(tmp_path)) as hub, till_of(hub) as till:
        stream = till.stream()
        stream.sale(random_card(), 1_500, weather="rain", flags=["card_unknown", "told_by_voice"])
        stream.events[0] = canonical_json(json.loads(stream.events[0]) | {"traceparent": "00-1"})
        answer = await stream.put()

        assert [verdict.outcome for verdict in answer.results] == [Outcome.APPLIED]
        ((raw, points),) = await kept(hub)
        assert points == 15
        event = json.loads(raw)
        assert event["traceparent"] == "00-1"
        assert event["data"]["weather"] == "rain"
        assert event["data"]["flags"] == ["card_unknown", "told_by_voice"]
