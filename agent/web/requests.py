"""What the local API takes and gives, beside the values of the counter itself."""

from typing import Annotated, Literal

from aiohttp import web
from pydantic import AwareDatetime, Field, StringConstraints, TypeAdapter, ValidationError

from agent.store.outbox import EntryState, OutboxRow
from agent.web.sessions import Scope
from sync.contract.customers import Code, Value, Wording
from sync.contract.events import Strict
from sync.pump.comparing import Comparer
from sync.runtime.problems import NOT_FOUND, Problem

SMALL_BYTES_MAX = 4 * 1024

# Longer texts than any code come in too, and are named for what they are: too long.
SCAN_CHARS_MAX = 16_000
SEARCH_CHARS_MIN, SEARCH_CHARS_MAX = 3, 200
_LINK_CODE_CHARS_MAX = 200
_CODE: TypeAdapter[str] = TypeAdapter(Code)


class ScanRequest(Strict):
    """A text that a scanner read or somebody typed."""

    text: str = Field(max_length=SCAN_CHARS_MAX, repr=False)
    symbology: str | None = Field(default=None, max_length=40, description="for example QR, EAN-13, Code128")
    source: Literal["api", "page"] = "api"


class SearchRequest(Strict):
    """The beginnings of a name, or a whole phone number, e-mail address or card number."""

    text: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=SEARCH_CHARS_MIN, max_length=SEARCH_CHARS_MAX),
        Field(repr=False),
    ]


class ShowRequest(Strict):
    """The customer that staff chose."""

    customer_id: Code


class PageLinkRequest(Strict):
    """What the link is to open: the staff's page, or the customer's display."""

    for_: Scope = Field(default=Scope.PAGE, alias="for")


class SessionRequest(Strict):
    """The code of a page link; without one, the page's cookie is renewed. A display also opens by the page's cookie."""

    for_: Scope = Field(default=Scope.PAGE, alias="for")
    code: str | None = Field(default=None, max_length=_LINK_CODE_CHARS_MAX, repr=False)


class Nothing(Strict):
    """An empty object."""


class SessionAnswer(Value):
    """What a page keeps in its memory and sends as `Page-Token`."""

    page_token: str = Field(repr=False)


class PageLink(Value):
    """An address that opens the page once."""

    url: str


class OutboxQuery(Strict):
    """Which part of the outbox: events behind position `after`, in one state or in any."""

    after: int = Field(default=0, ge=0)
    limit: int = Field(default=100, ge=1, le=200)
    state: EntryState | None = None


class ActsQuery(Strict):
    """How many of this shift's sales, the newest."""

    limit: int = Field(default=50, ge=1, le=200)


class OutboxRowShown(OutboxRow):
    """A row with its reason in words."""

    reason_text: Wording | None


class OutboxShown(Value):
    """A page of the outbox. `next_after` continues it; null is its end."""

    rows: tuple[OutboxRowShown, ...]
    next_after: int | None


class Health(Value):
    """Only whether it lives."""

    ok: bool


class CacheComparison(Value):
    """The newest comparison with the hub since the start: when, and how many accounts were otherwise; null for none."""

    is_due: bool
    compared_at: AwareDatetime | None
    accounts: int | None

    @classmethod
    def of(cls, comparer: Comparer) -> "CacheComparison":
        """Return what a comparer says of itself."""
        last = comparer.last
        return cls(
            is_due=comparer.is_due,
            compared_at=last.at if last is not None else None,
            accounts=last.accounts if last is not None else None,
        )


class Readiness(Value):
    """Whether the till can serve: each supervised loop by name, and what it does now."""

    ok: bool
    loops: dict[str, str]


def code_in_path(request: web.Request, name: str) -> str:
    """Return an id that stands in the path.

    Raises:
        Problem: not_found; no id is written like this.
    """
    try:
        return _CODE.validate_python(request.match_info[name])
    except ValidationError:
        raise Problem(NOT_FOUND, f"{name} is 1 to 64 letters, digits, dots, colons, underscores and hyphens.") from None
