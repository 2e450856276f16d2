"""F35: a hub whose certificate has run out, and tills with a full queue behind it, until somebody renews it."""

import json
from collections import Counter as Tally
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

from agent import keys
from agent.root import running as running_till
from sync.contract.protocol import EnrolRequest
from sync.hub.config import HubConfig, HubSection
from sync.hub.root import Hub
from sync.hub.root import running as running_hub
from sync.hub_client import enrol
from tests.support.chaos_tills import import_cards
from tests.support.hubs import HubUnderTest
from tests.support.machine_books import hub_books
from tests.support.machines import redemption, sale
from tests.support.redeeming import ANN
from tests.support.tills import free_port, open_pos, settings
from tests.support.waiting import eventually

PAST = datetime(2020, 1, 1, tzinfo=UTC)
SALES = 12


class SecureHub:
    """A hub that speaks https, on one state folder and one port, under a certificate of today or of years ago."""

    def __init__(self, folder: Path) -> None:
        self._authority = trustme.CA()
        self._folder = folder
        self._port = free_port()
        self.url = f"https://127.0.0.1:{self._port}"
        self.ca_file = folder / "ca.pem"
        self.state = folder / "hub"
        self._authority.cert_pem.write_to_path(self.ca_file)

    def config(self, *, is_expired: bool = False) -> HubConfig:
        """Have a new certificate issued, and return the settings of a hub that shows it."""
        leaf = self._authority.issue_cert("127.0.0.1", not_after=PAST if is_expired else None)
        certificate, key = self._folder / "hub.crt", self._folder / "hub.key"
        leaf.cert_chain_pems[0].write_to_path(certificate)
        leaf.private_key_pem.write_to_path(key)
        return HubConfig(hub=HubSection(state=self.state, port=self._port, tls_certificate=certificate, tls_key=key))


async def _invited(hub: Hub, ca_file: Path, state: Path) -> keys.Enrolment:
    public_key = keys.terminal_key(state / "keys" / "terminal.key").public
    asked = EnrolRequest(code=await hub.invite("store-1"), agent_version="0.1.0", public_key=public_key)
    return keys.Enrolment(hub_url=hub.url, answer=await enrol(hub.url, asked, ca_file))


async def test_f35_behind_an_expired_certificate_the_queue_waits_and_is_sent_once_after_the_renewal(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    door = SecureHub(tmp_path)
    of = settings(tmp_path / "till", door.url, hub={"ca_file": door.ca_file})
    async with running_hub(door.config()) as hub:
        await import_cards(HubUnderTest(hub.url, hub=hub), tmp_path, (1,), 100)
        keys.write_enrolment(of.enrolment_file, await _invited(hub, door.ca_file, of.till.state))
        async with running_till(of) as till:
            await eventually(lambda: till.store.customers.by_id(ANN) is not None)
            till.store.allowances.wish(ANN, 100)
            await eventually(lambda: till.store.allowances.purse(ANN, []).remaining == 100)

    async with running_till(of) as till, open_pos(till, of) as pos:
        for number in range(SALES):
            assert (await pos.post("/api/v1/sales", sale(f"s-{number}", 1, 500)))[0] == 200
        assert (await pos.post("/api/v1/redemptions", redemption("d-1", 1, 60)))[0] == 200
        async with running_hub(door.config(is_expired=True)):
            await eventually(lambda: till.line.state.upload_fault == "certificate")
            assert (await pos.post("/api/v1/sales", sale("s-last", 1, 500)))[0] == 200
        assert till.store.outbox.figures().waiting == SALES + 2
        assert (await hub_books(door.state)).raws == []

        async with running_hub(door.config()):
            await eventually(lambda: till.store.outbox.figures().waiting == 0, within_s=60)

    books = await hub_books(door.state)
    assert "fault=certificate" in caplog.text
    assert books.names() == Tally([*(f"s-{number}" for number in range(SALES)), "d-1", "s-last"])
    assert [json.loads(raw)["seq"] for raw in books.raws] == sorted(json.loads(raw)["seq"] for raw in books.raws)
    books.check({ANN: 100 + 5 * (SALES + 1) - 60})
