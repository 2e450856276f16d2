"""A whole till in one process, as its root builds it: real files, real sockets, a hub that is there or not."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from agent import keys
from agent.config import Settings
from agent.root import Till, running
from sync.contract.program import Program
from sync.contract.protocol import EnrolAnswer
from sync.runtime.clock import Clock
from tests.support.shop import EPOCH, IDENTIFIER_KEY, STORE_ID, TERMINAL_ID, program

# Nobody listens on the discard port: a hub that is down.
NO_HUB = "http://127.0.0.1:9"


def free_port() -> int:
    """A port of this machine that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def settings(folder: Path, hub_url: str = NO_HUB, **sections: dict[str, Any]) -> Settings:
    """The settings of a till whose state lies in `folder`."""
    given: dict[str, dict[str, Any]] = {
        "till": {"state": folder / "state"},
        "hub": {"url": hub_url},
        "api": {"port": free_port()},
    }
    for name, section in sections.items():
        given[name] = given.get(name, {}) | section
    return Settings.model_validate(given)


def enrol_by_hand(of: Settings, rules: Program | None = None) -> None:
    """Write down an enrolment that no hub gave: for tills that never reach one."""
    answer = EnrolAnswer(
        terminal_id=TERMINAL_ID,
        store_id=STORE_ID,
        credential="made-up-credential-000000",
        identifier_key=IDENTIFIER_KEY.hex(),
        hub_epoch=EPOCH,
        program=rules or program(),
    )
    keys.write_enrolment(of.enrolment_file, keys.Enrolment(hub_url=of.hub.url, answer=answer))


@dataclass(frozen=True, slots=True)
class Pos:
    """A point of sale: the till's API with the bearer key."""

    session: aiohttp.ClientSession
    url: str

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
        async with self.session.request(method, self.url + path, json=body) as answer:
            return answer.status, await answer.json(content_type=None)

    async def post(self, path: str, body: Any) -> tuple[int, dict[str, Any]]:
        return await self.ask("POST", path, body)

    async def get(self, path: str) -> tuple[int, dict[str, Any]]:
        return await self.ask("GET", path)


@asynccontextmanager
async def open_pos(till: Till, of: Settings) -> AsyncIterator[Pos]:
    key = keys.pos_key(of.pos_key_file, None)
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as session:
        yield Pos(session, f"http://{till.at.host}:{till.at.port}")


@asynccontextmanager
async def till_and_pos(
    folder: Path, clock: Clock | None = None, **sections: dict[str, Any]
) -> AsyncIterator[tuple[Till, Pos]]:
    """A till without a hub, and a point of sale at it."""
    of = settings(folder, NO_HUB, **sections)
    enrol_by_hand(of)
    async with running(of, clock) as till, open_pos(till, of) as pos:
        yield till, pos
