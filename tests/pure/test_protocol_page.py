"""sync/PROTOCOL.md names all that is on the wire: each route, code, verdict, reason, event type, change and member."""

import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import get_args

import pytest
from pydantic import BaseModel

from sync.contract import allowance, customers, digest, events, program, protocol
from sync.contract.chain import GONE, PROOF_HEADER, WITHHELD
from sync.contract.events import EVENT_TYPES, Flag
from sync.contract.protocol import EPOCH_HEADER, Change, Outcome, ProblemCode, Reason
from sync.contract.versions import PROTOCOLS
from sync.hub.web.refusals import KINDS
from sync.hub.web.routes import ROUTES, Route
from sync.runtime import problems

PAGE = (Path(__file__).parents[2] / "sync" / "PROTOCOL.md").read_text(encoding="utf-8")
# What stands in code style, whole and word by word, or as a member of an example.
SAID = set(re.findall(r"`([^`\n]+)`", PAGE)) | set(re.findall(r'"([\w./-]+)"', PAGE))
WORDS = SAID | {word for said in SAID for word in re.findall(r"[\w.-]+", said)}
OPERATIONS = [get_args(change.model_fields["op"].annotation)[0] for change in get_args(get_args(Change)[0])]


def members(*modules: ModuleType) -> Iterator[str]:
    """Yield the members of every message that these modules define."""
    for module in modules:
        for model in vars(module).values():
            if isinstance(model, type) and issubclass(model, BaseModel) and model.__module__ == module.__name__:
                yield from model.model_fields


@pytest.mark.parametrize(
    "route", [route for route in ROUTES if route.path.startswith("/v1/")], ids=lambda route: str(route.handler.__name__)
)
def test_each_route_is_on_the_page(route: Route) -> None:
    assert any(re.fullmatch(rf"{route.method} {address(route.path)}(\?.*)?", said) for said in SAID)


def address(path: str) -> str:
    """Return a pattern of a route's address: its parts may have any name."""
    return re.sub(r"\{\w+(:[^/]*)?\}(?=/|$)", r"\\{\\w+\\}", path)


@pytest.mark.parametrize(
    "code",
    sorted({*Outcome, *Reason, *ProblemCode, *Flag, *OPERATIONS, *(kind.code for kind in (*KINDS, *problems.KINDS))}),
)
def test_each_code_is_on_the_page(code: str) -> None:
    assert code in SAID


@pytest.mark.parametrize("name", [*EVENT_TYPES, WITHHELD, GONE, *PROTOCOLS, EPOCH_HEADER, PROOF_HEADER])
def test_each_event_type_protocol_and_header_is_on_the_page(name: str) -> None:
    assert name in WORDS or name in SAID


@pytest.mark.parametrize("member", sorted(set(members(allowance, customers, digest, events, program, protocol))))
def test_each_member_of_a_message_is_on_the_page(member: str) -> None:
    assert member in WORDS


def test_a_word_that_is_not_on_the_page_would_be_missed() -> None:
    assert "made_up_code" not in WORDS
