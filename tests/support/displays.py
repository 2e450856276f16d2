"""Screen states as the customer's display derives from them; whatever it must not show says SECRET."""

from datetime import UTC, date, datetime
from typing import Any

from agent.screen import HubShown, ScreenState, ShopShown
from agent.shift import Act, ActState
from agent.store.outbox import OutboxFigures
from agent.views import (
    BalanceShown,
    CautionShown,
    CustomerView,
    Freshness,
    OfferShown,
    PreferenceShown,
    RewardShown,
    TierShown,
    UnknownCardView,
    ValueShown,
    View,
)
from sync.contract.customers import CautionKind, Wording

NOW = datetime(2026, 3, 9, 9, 0, tzinfo=UTC)
SECRET = Wording(en="SECRET", fr="SECRET")


def balance(**changes: Any) -> BalanceShown:
    given = BalanceShown(posted=1_240, pending=15, shown=1_255, as_of=NOW, freshness=Freshness.FRESH)
    return given.model_copy(update=changes)


def customer(**changes: Any) -> CustomerView:
    """Everything that a customer's view can hold; what a display must not show says SECRET."""
    day = date(2026, 3, 1)
    view = CustomerView(
        customer_id="c-SECRET",
        name="Marie",
        language="fr",
        tier=TierShown(tier="SECRET", text=SECRET),
        balance=balance(),
        next_reward=RewardShown(reward_id="SECRET", text=SECRET, points=1_500, missing=245),
        reached_reward=None,
        offer=OfferShown(offer_id="SECRET", text=SECRET, reason=SECRET, ends_on=None),
        caution=CautionShown(kind=CautionKind.OPEN_COMPLAINT, since=day),
        last_visit_on=day,
        preferences=(PreferenceShown(text=SECRET, noted_on=day),),
        value=ValueShown(band="SECRET", text=SECRET, as_of=day),
    )
    return view.model_copy(update=changes)


def unknown_card() -> UnknownCardView:
    return UnknownCardView(
        card_id="0f" * 16, hint="··· 4821", balance=balance(posted=40), points_max=500, asked="waiting"
    )


def act(**changes: Any) -> Act:
    made = Act(
        position=1,
        sale_id="s-SECRET",
        customer_id="c-SECRET",
        hint="··· 4821",
        net_minor=1_550,
        currency="CAD",
        points=15,
        state=ActState.CREDITED,
        recorded_at=NOW,
    )
    return made.model_copy(update=changes)


def state(view: View, **changes: Any) -> ScreenState:
    return ScreenState(
        seq=7,
        view=view,
        outbox=OutboxFigures(waiting=3, oldest_at=NOW, rejected=0, parked=0, withheld=0),
        hub=HubShown(is_reachable=False, since=NOW, fault="SECRET", is_loading_snapshot=False),
        demo=True,
        language="en",
        shop=ShopShown(name="Café Parallèle", till="SECRET", currency="CAD"),
    ).model_copy(update=changes)
