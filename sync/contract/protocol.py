"""storesync/1 on the wire: what a terminal and the hub say to each other, and the limits both keep.

Reading rule for both ends: unknown fields are ignored, unknown feed operations are kept aside, missing ones refuse
the message. Every answer names the hub's epoch, so that nothing from a hub before a restore is ever believed.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, Field, TypeAdapter

from sync.contract.allowance import ALLOWANCES_PER_TERMINAL_MAX, AllowancesWord, HeldAllowance
from sync.contract.customers import Code, Customer, IdentifierRef, Value
from sync.contract.events import SEQ_MAX, Count, Covered, IdentifierId, Incarnation, Seq
from sync.contract.identifiers import Identifier
from sync.contract.program import Program

EPOCH_HEADER = "Hub-Epoch"
BATCH_CONTENT_TYPE = "application/cloudevents-batch+json"
SNAPSHOT_CONTENT_TYPE = "application/x-ndjson"

# One upload: small enough for any proxy between, large enough that the hub's commit is shared by hundreds.
BATCH_EVENTS_MAX = 500
BATCH_BYTES_MAX = 512 * 1024
# No till waits longer after a loss of its line, whatever the hub asks for.
RECONNECT_SPREAD_S_MAX = 3_600
# One page of the feed, in changes; a change with a full customer is 1-2 kB.
FEED_CHANGES_MAX = 500
# How long the hub may hold a poll open: below every usual proxy idle limit of 60 s.
FEED_WAIT_S_MAX = 25
# One chunk of a snapshot, in rows: some 2 MB of NDJSON, a fraction of a second to load.
SNAPSHOT_CHUNK_ROWS = 5_000
IDENTIFIERS_PER_CALL_MAX = 200
INCARNATIONS_PER_HELLO_MAX = 1_000
# Held events named in one hello, 40 bytes each; a till that holds more names the next ones at its next hello.
HELD_PER_HELLO_MAX = 200


class Outcome(StrEnum):
    """The hub's verdict on one event. All four advance the high-water, so no event can block the line."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"
    PARKED = "parked"


class Reason(StrEnum):
    """Why an event was rejected or parked."""

    BAD_EVENT = "bad_event"
    UNKNOWN_PROGRAM = "unknown_program"
    CURRENCY_MISMATCH = "currency_mismatch"
    POINTS_MISMATCH = "points_mismatch"
    SALE_ALREADY_CREDITED = "sale_already_credited"
    REVERSAL_CONFLICT = "reversal_conflict"
    UNKNOWN_TYPE = "unknown_type"
    WAITS_FOR_SALE = "waits_for_sale"
    REDEMPTION_CONFLICT = "redemption_conflict"
    WAITS_FOR_REDEMPTION = "waits_for_redemption"
    # Two histories of the terminal met: kept aside, until a person decides.
    FORK = "fork"
    QUARANTINED = "quarantined"
    # The hub was brought back from a backup and does not know all allowances yet.
    HUB_RECOVERING = "hub_recovering"
    # The hub's own code falls over it: kept, and judged again after an upgrade.
    HUB_FAULT = "hub_fault"


# A reason that is newer than the program that reads it stays what it says: else one event would make an answer
# unreadable, and block the line until the next update.
AnyReason = Annotated[
    Reason | Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")], Field(union_mode="left_to_right")
]


class ProblemCode(StrEnum):
    """The stable codes of the hub's RFC 9457 problems that a terminal acts on."""

    GAP = "gap"
    HELLO_REQUIRED = "hello_required"
    RESYNC = "resync"
    CREDENTIAL_UNKNOWN = "credential_unknown"
    TERMINAL_REVOKED = "terminal_revoked"
    PROTOCOL_UNKNOWN = "protocol_unknown"
    SIGNATURE_INVALID = "signature_invalid"
    # To a terminal whose program is too old: no more downloads. Its uploads are taken for ever.
    UPGRADE_REQUIRED = "upgrade_required"


# The sha256 of something, and the public half of an Ed25519 key (RFC 8032), in hex.
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
PublicKey = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class EnrolledBefore(Value):
    """Which terminal this machine was at its last enrolment, and the credential that proves it, served or not."""

    terminal_id: Code
    store_id: Code
    credential: str = Field(min_length=20, max_length=200, repr=False)


class EnrolRequest(Value):
    """`POST /v1/enrolments`: a one-time code becomes a terminal.

    A machine that was a terminal `before` stays the same one: what waits on it was recorded under that identity, and
    travels under no other. Nobody becomes a terminal without a key: the hub would have to take its uploads unsigned.
    """

    code: str = Field(min_length=8, max_length=64)
    agent_version: str = Field(max_length=40)
    public_key: PublicKey
    before: EnrolledBefore | None = None


class EnrolAnswer(Value):
    """What a terminal keeps: who it is, its credential and the identifier key (both secrets), the program."""

    terminal_id: Code
    store_id: Code
    credential: str = Field(min_length=20, max_length=200)
    identifier_key: str = Field(pattern=r"^[0-9a-f]{64}$")
    hub_epoch: Code
    program: Program


class CredentialAnswer(Value):
    """`POST /v1/credentials`: a new credential; the old one serves until the new one has been used."""

    credential: str = Field(min_length=20, max_length=200)


class IncarnationLength(Value):
    """An incarnation of the terminal and the seq of its last event."""

    inc: Incarnation
    length: int = Field(ge=0, le=SEQ_MAX)


class Verdict(Value):
    """The outcome of one event, by its seq."""

    seq: int = Field(ge=1)
    outcome: Outcome
    reason: AnyReason | None = None


class OutcomePut(Value):
    """A parked event of this terminal got its final verdict."""

    op: Literal["outcome"] = "outcome"
    inc: Incarnation
    verdict: Verdict


class HeldEvent(Value):
    """An event that the terminal still shows as held: the hub parked it, and no final verdict came here."""

    inc: Incarnation
    seq: Seq


class HelloRequest(Value):
    """`POST /v1/hello`: the first call after a start or a reconnect."""

    protocols: tuple[str, ...] = Field(min_length=1, max_length=10)
    agent_version: str = Field(max_length=40)
    event_types: tuple[str, ...] = Field(max_length=100)
    cursor: str | None = Field(default=None, max_length=200)
    # The epoch that the process has heard of: what names it was said after that epoch began.
    hub_epoch: Code | None = None
    incarnations: tuple[IncarnationLength, ...] = Field(default=(), max_length=INCARNATIONS_PER_HELLO_MAX)
    held: tuple[HeldEvent, ...] = Field(default=(), max_length=HELD_PER_HELLO_MAX)
    waiting: Count
    oldest_waiting_s: Count
    wall: AwareDatetime
    monoms: Count
    bootid: str = Field(max_length=64)
    # The incarnation of the process that says hello.
    running: Incarnation | None = None
    # Kept where the hub has none of this terminal: it was enrolled before terminals had keys.
    public_key: PublicKey | None = None
    # What it has not returned, expired or not.
    allowances: tuple[HeldAllowance, ...] = Field(default=(), max_length=ALLOWANCES_PER_TERMINAL_MAX)


class AppliedThrough(Value):
    """How far the hub holds one incarnation, and the chain there."""

    inc: Incarnation
    through: int = Field(ge=0)
    chain: Digest | None = None


def _at_most(limit: int) -> Callable[[int], int]:
    return lambda number: min(number, limit)


class HelloAnswer(Value):
    """What the hub holds of this terminal, and the limits of this connection.

    `outcomes` are the final verdicts on held events whose effect stands at the terminal's cursor or before: a snapshot
    jumped over the rows of the feed that said them. What stands behind the cursor is said on the feed.
    """

    protocol: str
    hub_epoch: Code
    applied: tuple[AppliedThrough, ...] = ()
    outcomes: tuple[OutcomePut, ...] = Field(default=(), max_length=HELD_PER_HELLO_MAX)
    # A hub that takes more is asked for no more: what this end sends at once is bounded by its own limits.
    max_batch_events: Annotated[int, Field(ge=1), AfterValidator(_at_most(BATCH_EVENTS_MAX))]
    max_batch_bytes: Annotated[int, Field(ge=1024), AfterValidator(_at_most(BATCH_BYTES_MAX))]
    reconnect_spread_s: Annotated[int, Field(ge=0), AfterValidator(_at_most(RECONNECT_SPREAD_S_MAX))]
    server_time: AwareDatetime
    rotate_credential: bool = False
    # What the uploads of the process that said hello must name; another process's hello makes it another.
    fence: int = Field(default=0, ge=0)
    # The oldest program that is still given downloads, where there is one.
    min_agent: str | None = Field(default=None, max_length=40)
    # Missing from a hub that grants none.
    allowances: AllowancesWord | None = None
    # The hub was restored and must know what is held and recorded now: this hello may have been under way since before.
    again: bool = False


class UploadAnswer(Value):
    """`PUT /v1/streams/{terminal}/{inc}/{first}`: one verdict per event of the range, and the new high-water."""

    hub_epoch: Code
    applied_through: int = Field(ge=0)
    results: tuple[Verdict, ...]
    # The chain at `applied_through`.
    chain: Digest | None = None


class PresentedIdentifier(Value):
    """A value that was presented at a counter and is not known there; travels once, beside the chain, erasable."""

    id: IdentifierId
    identifier: Identifier


class IdentifiersRequest(Value):
    """`POST /v1/identifiers`: whom does this card lead to? The answer to a known one arrives on the feed."""

    presented: tuple[PresentedIdentifier, ...] = Field(min_length=1, max_length=IDENTIFIERS_PER_CALL_MAX)


class IdentifiersAnswer(Value):
    """The ids that lead to a customer at the hub; the others are kept as cards that nobody is known for."""

    known: tuple[IdentifierId, ...]


class CustomerPut(Value):
    """A customer is new or changed. `points` is the posted balance at this position of the feed."""

    op: Literal["customer"] = "customer"
    customer: Customer
    identifiers: tuple[IdentifierRef, ...] = Field(default=(), max_length=100)
    points: int


class BalancePut(Value):
    """Only the posted balance changed."""

    op: Literal["balance"] = "balance"
    customer_id: Code
    points: int


class CardPut(Value):
    """Points wait at the hub on an identifier that leads to no customer."""

    op: Literal["card"] = "card"
    identifier: IdentifierId
    points: int


class CustomerGone(Value):
    """The customer leaves this cache: erased, or no longer in this terminal's scope.

    One who was merged into another leaves as out of scope, and `merged_into` names the other; a terminal that does not
    know that field loses nothing, because the other's row comes with all identifiers and the balance of both. Whatever
    a newer hub's reason is, the customer leaves.
    """

    op: Literal["gone"] = "gone"
    customer_id: Code
    reason: Annotated[
        Literal["erased", "out_of_scope"] | Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")],
        Field(union_mode="left_to_right"),
    ]
    merged_into: Code | None = None


class ProgramPut(Value):
    """A new version of the program is in force."""

    op: Literal["program"] = "program"
    program: Program


class AllowancesPut(Value):
    """Something about this terminal's allowances changed, a recall for one: it asks again (`POST /v1/allowances`)."""

    op: Literal["allowances"] = "allowances"


Change = Annotated[
    CustomerPut | BalancePut | CardPut | CustomerGone | ProgramPut | OutcomePut | AllowancesPut,
    Field(discriminator="op"),
]
CHANGE: TypeAdapter[Change] = TypeAdapter(Change)


class FeedPage(Value):
    """`GET /v1/feed?cursor&limit&wait`: changes in commit order, the coverage as of the page's end, a cursor."""

    hub_epoch: Code
    changes: tuple[Change, ...] = Field(max_length=FEED_CHANGES_MAX)
    covered: Covered
    cursor: str = Field(max_length=200)
    more: bool
    as_of: AwareDatetime


class SnapshotChunk(Value):
    """One part of a snapshot: NDJSON of `CustomerPut` and `CardPut`, gzipped; the hash is of the gzipped bytes."""

    number: int = Field(ge=1)
    rows: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class SnapshotManifest(Value):
    """`GET /v1/snapshots/{id}`: all rows as of one position. Grows until `complete`; its chunks never change.

    `cursor` continues the feed where the snapshot ends; `covered` is this terminal's coverage at that position.
    """

    snapshot_id: Code
    hub_epoch: Code
    cursor: str = Field(max_length=200)
    covered: Covered
    program: Program
    as_of: AwareDatetime
    chunks: tuple[SnapshotChunk, ...]
    complete: bool
