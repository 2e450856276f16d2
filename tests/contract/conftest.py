"""The conformance suite of storesync/1: against the reference hub in this process, or against any hub at a URL.

    pytest tests/contract --hub-url https://hub.example.com --hub-invite CODE [--hub-invite CODE ...]
        [--hub-customer ID:CARD] [--hub-ca-file FILE]

With a URL every test speaks to the hub at that URL, or is skipped and says why: what needs the hub from inside cannot
be tested from outside. The first code makes the terminal of most tests, the second one another terminal beside it, the
third one that exists twice, and each further one (five are enough) serves a single test. Allowances are tested with a
customer that the hub knows by that card. The program of the hub must give one point for each 100 of its minor unit; the
tests leave cards, sales and terminals behind, two of them in quarantine.
"""

from collections.abc import AsyncIterator, Generator
from pathlib import Path

import aiohttp
import pytest

from sync.contract.protocol import EnrolAnswer
from sync.contract.signing import SigningKey
from sync.hub.people.customer_rows import to_row
from sync.hub.people.customers import put_customers
from sync.hub_client import open_session
from sync.hub_errors import HubUnreachable
from tests.support.hubs import HubUnderTest, hub_in_process
from tests.support.wire_till import KnownCustomer, WireTill, enrolled, random_card
from tests.support.wrong_shapes import wrong_members

_AT_URL = pytest.StashKey[HubUnderTest]()
_ENROLLED = pytest.StashKey[dict[int, tuple[EnrolAnswer, SigningKey]]]()
# The terminals that tests at a URL share, one for each of the first codes.
_SHARED = ("a one-time code", "a second one-time code", "a third one-time code")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("hub", "the hub that the conformance suite tests")
    group.addoption("--hub-url", help="a hub to test instead of the reference hub in this process")
    group.addoption("--hub-invite", action="append", default=[], help="a one-time code of that hub; may be repeated")
    group.addoption("--hub-customer", help="ID:CARD of a customer of that hub whose points the tests may use")
    group.addoption("--hub-ca-file", type=Path, help="PEM file of the authority of that hub's certificate")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, None, None]:
    """Let an answer of a wrong shape say where it is wrong."""
    try:
        yield
    except HubUnreachable as error:
        _say_where(error)
        raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, None, None]:
    """Let an answer of a wrong shape say where it is wrong."""
    try:
        yield
    except HubUnreachable as error:
        _say_where(error)
        raise


def _say_where(error: HubUnreachable) -> None:
    for member in wrong_members(error):
        error.add_note(member)


@pytest.fixture
async def hub(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[HubUnderTest]:
    """The hub to test."""
    config = request.config
    url = config.getoption("--hub-url")
    if url is None:
        async with hub_in_process(tmp_path / "hub") as hub:
            yield hub
        return
    if _AT_URL not in config.stash:
        further = list(config.getoption("--hub-invite"))[len(_SHARED) :]
        config.stash[_AT_URL] = HubUnderTest(url.rstrip("/"), config.getoption("--hub-ca-file"), further)
    yield config.stash[_AT_URL]


@pytest.fixture
async def session(hub: HubUnderTest) -> AsyncIterator[aiohttp.ClientSession]:
    async with open_session(hub.ca_file) as session:
        yield session


@pytest.fixture
async def till(request: pytest.FixtureRequest, hub: HubUnderTest, session: aiohttp.ClientSession) -> WireTill:
    """A terminal of that hub."""
    return await _till(request.config, hub, session, 0)


@pytest.fixture
async def other_till(request: pytest.FixtureRequest, hub: HubUnderTest, session: aiohttp.ClientSession) -> WireTill:
    """Another terminal of the same hub."""
    return await _till(request.config, hub, session, 1)


@pytest.fixture
async def forked_till(request: pytest.FixtureRequest, hub: HubUnderTest, session: aiohttp.ClientSession) -> WireTill:
    """A terminal that tests copy: at a URL it may be in quarantine already."""
    return await _till(request.config, hub, session, 2)


@pytest.fixture
async def customer(request: pytest.FixtureRequest, hub: HubUnderTest) -> KnownCustomer:
    """A customer with a card; what they have in points is earned by the test."""
    given = request.config.getoption("--hub-customer")
    if given is not None:
        return KnownCustomer(*given.split(":", 1))
    if hub.hub is None:
        pytest.skip("needs a customer of that hub: --hub-customer ID:CARD")
    known = KnownCustomer("C-1", random_card())
    inside = hub.inside
    fields = {
        "customer_id": known.customer_id,
        "given_name": "Zoé",
        "language": "fr",
        "identifiers": [{"scheme": "card", "value": known.card}],
    }
    row = to_row(fields, inside.founding.identifier_key, "1")
    await inside.writer.write(lambda connection: put_customers(connection, [row], 0))
    return known


@pytest.fixture
async def own_till(hub: HubUnderTest, session: aiohttp.ClientSession) -> WireTill:
    """A terminal of this test alone, which no other test uses after it."""
    till = await enrolled(hub.url, await hub.invite(), session, hub.ca_file)
    await till.hello()
    return till


async def _till(config: pytest.Config, hub: HubUnderTest, session: aiohttp.ClientSession, number: int) -> WireTill:
    """Return an enrolled terminal; at a URL the same one for all tests, because codes are scarce there."""
    known = config.stash.setdefault(_ENROLLED, {}) if hub.hub is None else {}
    if number not in known:
        till = await enrolled(hub.url, await _code(config, hub, number), session, hub.ca_file)
        known[number] = (till.enrolment, till.key)
    till = WireTill(hub.url, known[number][0], session, known[number][1])
    await till.hello()
    return till


async def _code(config: pytest.Config, hub: HubUnderTest, number: int) -> str:
    """Return the code of a shared terminal: at a URL always the same one, in whatever order the tests run."""
    codes = config.getoption("--hub-invite")
    if hub.hub is not None:
        return await hub.invite()
    if number >= len(codes):
        pytest.skip(f"needs {_SHARED[number]}: --hub-invite CODE")
    return str(codes[number])
