"""The conformance suite at a URL: it tests the hub that stands there, and no test passes where none does."""

import asyncio
import re
import sys
from collections import Counter
from pathlib import Path

from aiohttp import web

from sync.hub.people.customer_rows import to_row
from sync.hub.people.customers import put_customers
from tests.support.hubs import HubUnderTest, hub_in_process
from tests.support.processes import ROOT, free_port
from tests.support.wire_till import random_card

CODES = 8
# What nobody can do to a hub from outside: revoke a terminal, and merge or erase customers.
FROM_INSIDE = {
    "test_a_revoked_terminal_is_told_so_by_every_call",
    "test_a_merge_its_end_and_an_erasure_reach_a_terminal_with_whole_balances",
}
_RESULT = re.compile(r"::(\w+)(?:\[.*\])? (PASSED|FAILED|ERROR|SKIPPED)")


async def print_of_suite(folder: Path, *arguments: str) -> str:
    """Run the conformance suite in a process of its own; return what it prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "tests/contract", "-v", "-p", "no:cacheprovider"),
        *(f"--basetemp={folder / 'suite'}", *arguments),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    return printed.decode()


async def run_suite(folder: Path, *arguments: str) -> list[tuple[str, str]]:
    """Run the conformance suite in a process of its own; return each test's name with what came of it."""
    printed = await print_of_suite(folder, *arguments)
    results = _RESULT.findall(printed)
    assert len(results) > 120, printed[-2000:]
    return results


async def with_customer(hub: HubUnderTest) -> str:
    """Make a customer in a hub, and return what --hub-customer says of them."""
    card, inside = random_card(), hub.inside
    fields = {
        "customer_id": "C-1",
        "given_name": "Zoé",
        "language": "fr",
        "identifiers": [{"scheme": "card", "value": card}],
    }
    row = to_row(fields, inside.founding.identifier_key, "1")
    await inside.writer.write(lambda connection: put_customers(connection, [row], 0))
    return f"C-1:{card}"


async def test_the_reference_hub_conforms_from_outside_too(tmp_path: Path) -> None:
    async with hub_in_process(tmp_path / "hub") as hub:
        codes = [f"--hub-invite={await hub.invite()}" for _ in range(CODES)]
        customer = f"--hub-customer={await with_customer(hub)}"
        results = await run_suite(tmp_path, f"--hub-url={hub.url}", customer, *codes)

    assert {name for name, result in results if result in {"FAILED", "ERROR"}} == set()
    assert {name for name, result in results if result == "SKIPPED"} == FROM_INSIDE


async def test_where_no_hub_stands_no_test_passes(tmp_path: Path) -> None:
    codes = [f"--hub-invite=CODE-{number}" for number in range(CODES)]

    results = await run_suite(
        tmp_path, f"--hub-url=http://127.0.0.1:{free_port()}", "--hub-customer=C-1:99901234", "--tb=no", *codes
    )

    found = Counter(result for _, result in results)
    assert found["PASSED"] == 0
    assert found["FAILED"] + found["ERROR"] > 120


async def test_a_test_that_needs_a_customer_asks_for_one(tmp_path: Path) -> None:
    async with hub_in_process(tmp_path / "hub") as hub:
        code = f"--hub-invite={await hub.invite()}"
        printed = await print_of_suite(tmp_path, f"--hub-url={hub.url}", code, "-rs", "-k", "same_wish_again")

    assert "needs a customer of that hub: --hub-customer ID:CARD" in printed
    assert "1 skipped" in printed


async def test_an_answer_of_a_wrong_shape_is_told_by_its_members(tmp_path: Path, unused_tcp_port: int) -> None:
    async def enrol(_: web.Request) -> web.Response:
        return web.json_response({"terminal_id": "T-1", "store_id": 5, "credential": "a secret of the hub"}, status=201)

    app = web.Application()
    app.add_routes([web.post("/v1/enrolments", enrol)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", unused_tcp_port).start()
    try:
        url = f"--hub-url=http://127.0.0.1:{unused_tcp_port}"
        printed = await print_of_suite(tmp_path, url, "--hub-invite=CODE-ABCD", "-k", "hello_again_changes_nothing")
    finally:
        await runner.cleanup()

    assert "EnrolAnswer.store_id: Input should be a valid string (string_type)" in printed
    assert "EnrolAnswer.hub_epoch: Field required (missing)" in printed
