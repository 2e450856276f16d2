"""What a customer may see: pure derivation from the screen's state, and nothing beyond its nine fields."""

from typing import Any

import pytest

from agent.display import Display, displayed, is_of
from agent.shift import ActState, Held
from agent.views import ChoiceView, Freshness, NothingView, OtherView, PersonRow, View
from tests.support.displays import act, balance, customer, state, unknown_card

FIELDS = {"seq", "kind", "name", "points", "pending", "earned", "language", "demo", "shop"}


def test_a_customer_reads_a_name_and_two_figures_in_a_language_of_theirs() -> None:
    assert displayed(state(customer()), None, seq=3) == Display(
        seq=3,
        kind="welcome",
        name="Marie",
        points=1_240,
        pending=15,
        earned=None,
        language="fr",
        demo=True,
        shop="Café Parallèle",
    )


def test_a_sale_of_this_showing_is_told_as_earned() -> None:
    shown = displayed(state(customer()), act(), seq=1)

    assert (shown.kind, shown.earned, shown.points) == ("earned", 15, 1_240)


@pytest.mark.parametrize(
    "changes",
    [{"state": ActState.TAKEN_BACK}, {"held": Held.REJECTED}, {"points": 0}],
    ids=["taken back", "refused by the hub", "worth no point"],
)
def test_what_does_not_count_is_not_told_as_earned(changes: dict[str, Any]) -> None:
    shown = displayed(state(customer()), act(**changes), seq=1)

    assert (shown.kind, shown.earned) == ("welcome", None)


@pytest.mark.parametrize("held", [Held.PARKED, Held.WITHHELD])
def test_what_still_may_count_is_told_as_earned(held: Held) -> None:
    assert displayed(state(customer()), act(held=held), seq=1).earned == 15


def test_an_unknown_card_is_greeted_without_a_name_in_the_tills_language() -> None:
    shown = displayed(state(unknown_card()), act(customer_id=None, state=ActState.KEPT_FOR_CARD), seq=1)

    assert (shown.kind, shown.name, shown.points, shown.earned, shown.language) == ("earned", None, 40, 15, "en")


def test_points_the_hub_never_told_are_not_invented() -> None:
    never = customer(balance=balance(posted=0, as_of=None, freshness=Freshness.NEVER))

    assert displayed(state(never), None, seq=1).points is None


OTHERS: tuple[View, ...] = (
    NothingView(),
    OtherView(meaning={"kind": "bank_card", "masked": "SECRET"}),
    ChoiceView(people=(PersonRow(customer_id="c-1", name="SECRET", tier=None, hints=("SECRET",), last_visit_on=None),)),
)


@pytest.mark.parametrize("view", OTHERS, ids=lambda view: view.kind)
def test_all_else_shows_nobody(view: View) -> None:
    shown = displayed(state(view), act(), seq=1)

    assert (shown.kind, shown.language) == ("idle", "en")
    assert {shown.name, shown.points, shown.pending, shown.earned} == {None}


def test_a_locked_till_shows_nobody_whatever_stands_in_its_view() -> None:
    assert displayed(state(customer(), locked=True), act(), seq=1).kind == "idle"


@pytest.mark.parametrize("view", [customer(), unknown_card(), *OTHERS], ids=lambda view: view.kind)
def test_nothing_but_these_fields_leaves_whatever_the_view_holds(view: View) -> None:
    shown = displayed(state(view), act(), seq=1)

    assert set(shown.model_dump()) == FIELDS
    assert "SECRET" in state(view).model_dump_json()
    assert "SECRET" not in shown.model_dump_json()
    assert "4821" not in shown.model_dump_json()


def test_a_sale_belongs_to_whoever_it_was_credited_to() -> None:
    assert is_of(act(), state(customer()))
    assert not is_of(act(customer_id="c-2"), state(customer()))
    assert is_of(act(customer_id=None), state(unknown_card()))
    assert not is_of(act(customer_id=None, hint="··· 0000"), state(unknown_card()))
    assert not is_of(act(), state(unknown_card()))
    assert not is_of(act(), state(NothingView()))
