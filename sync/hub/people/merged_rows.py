"""One row for several customers who are one person: what a till is shown of a merge. Pure.

The profile is the winner's, the identifiers are everybody's. What the person agreed to is never more than what the
winner agreed to, and less where anybody of them said no.
"""

import json
from collections.abc import Sequence

from sync.contract.customers import ROWS_PER_CUSTOMER_MAX, Caution, CautionKind, Consent, Customer, Purpose
from sync.hub.people.customer_rows import IDENTIFIERS_MAX, CustomerRow, KeptIdentifier


def compose(winner: CustomerRow, others: Sequence[CustomerRow]) -> CustomerRow:
    """Return the row of a merge; without others, the winner's own, word for word.

    Identifiers beyond IDENTIFIERS_MAX are left out, the winner's never: they lead to nobody, and their points wait on
    them, in sight.
    """
    if not others:
        return winner
    refs: dict[str, object] = {}
    values: dict[str, KeptIdentifier] = {}
    for row in (winner, *others):
        for ref, identifier in zip(json.loads(row.refs), row.identifiers, strict=True):
            if len(refs) < IDENTIFIERS_MAX:
                refs.setdefault(identifier.id, ref)
                values.setdefault(identifier.id, identifier)
    return CustomerRow(
        winner.customer_id,
        _profile(Customer.model_validate_json(winner.wire), [_parsed(row) for row in others]),
        json.dumps(list(refs.values()), separators=(",", ":"), ensure_ascii=False),
        tuple(values[identifier] for identifier in refs),
    )


def _parsed(row: CustomerRow) -> Customer:
    return Customer.model_validate_json(row.wire)


def _profile(winner: Customer, others: Sequence[Customer]) -> str:
    consents = [consent for purpose in Purpose if (consent := _strictest(purpose, winner, others)) is not None]
    silences = [caution for customer in (winner, *others) for caution in customer.cautions if _is_silence(caution)]
    # First, so that a list that is full loses another one: this one is a promise to the customer.
    cautions = [*silences[:1], *(caution for caution in winner.cautions if not _is_silence(caution))]
    shown = winner.model_copy(update={"consents": tuple(consents), "cautions": tuple(cautions[:ROWS_PER_CUSTOMER_MAX])})
    return shown.model_dump_json(exclude_defaults=True)


def _is_silence(caution: Caution) -> bool:
    return caution.kind is CautionKind.DO_NOT_CONTACT


def _strictest(purpose: Purpose, winner: Customer, others: Sequence[Customer]) -> Consent | None:
    """Return the decision that counts: anybody's newest no, else the winner's newest, which may be none."""
    newest = [_newest(purpose, customer) for customer in (winner, *others)]
    refusals = [consent for consent in newest if consent is not None and not consent.granted]
    return max(refusals, key=lambda consent: consent.decided_at) if refusals else newest[0]


def _newest(purpose: Purpose, customer: Customer) -> Consent | None:
    decisions = [consent for consent in customer.consents if consent.purpose is purpose]
    return max(decisions, key=lambda consent: consent.decided_at, default=None)
