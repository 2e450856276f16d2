"""The routes of redemptions: each handler parses, calls one flow, renders. The table is also their description."""

from collections.abc import Sequence

from aiohttp import hdrs, web

from agent.redeeming import Redeeming
from agent.redemptions import RedemptionRequest, RedemptionResult, RedemptionReversalResult
from agent.sales import ReversalRequest
from agent.web import problem_kinds as kinds
from agent.web.access import Access
from agent.web.openapi import Operation
from agent.web.requests import SMALL_BYTES_MAX, code_in_path
from sync.runtime.answers import json_answer
from sync.runtime.bodies import read_json
from sync.runtime.metrics import Metrics
from sync.runtime.problems import NOT_FOUND, Problem


class RedemptionRoutes:
    """The routes that spend points and give them back."""

    def __init__(self, redeeming: Redeeming, metrics: Metrics) -> None:
        self._redeeming = redeeming
        self._redemptions = metrics.counter("redemptions", "Redemptions asked for, by what came of it.", ["result"])
        self._reversals = metrics.counter("redemption_reversals", "Reversals of redemptions recorded or repeated.")

    def table(self) -> Sequence[Operation]:
        """Return every operation of this room."""
        return (
            Operation(
                hdrs.METH_POST,
                "/api/v1/redemptions",
                "redeemPoints",
                "Redeem points for a reward, or a number of points; the same redemption_id again answers the same.",
                Access.CREDENTIAL,
                self.redeem,
                takes=RedemptionRequest,
                gives=RedemptionResult,
                problems=(
                    *kinds.BODY,
                    *kinds.STORAGE,
                    kinds.CARD_ID_UNKNOWN,
                    kinds.CARD_MISMATCH,
                    kinds.CHOICE_NEEDED,
                    kinds.CUSTOMER_UNKNOWN,
                    kinds.NOT_A_CARD,
                    kinds.NOT_SPENDABLE,
                    kinds.NO_PROGRAM,
                    kinds.REDEMPTION_ID_REUSED,
                    kinds.REWARD_UNKNOWN,
                    kinds.SALE_FROM_THE_FUTURE,
                ),
            ),
            Operation(
                hdrs.METH_POST,
                "/api/v1/redemptions/{redemption_id}/reversals",
                "reverseRedemption",
                "Take a redemption back whole; it may be from another till, or not known here yet.",
                Access.CREDENTIAL,
                self.reverse,
                takes=ReversalRequest,
                gives=RedemptionReversalResult,
                problems=(*kinds.BODY, *kinds.STORAGE, NOT_FOUND, kinds.REVERSAL_ID_REUSED, kinds.SALE_FROM_THE_FUTURE),
            ),
        )

    async def redeem(self, request: web.Request) -> web.Response:
        """Answer `POST /api/v1/redemptions`."""
        asked = await read_json(request, RedemptionRequest, limit=SMALL_BYTES_MAX)
        try:
            with kinds.as_problems():
                result = await self._redeeming.redeem(asked)
        except Problem as problem:
            self._redemptions.labels(problem.kind.code).inc()
            raise
        self._redemptions.labels("redeemed").inc()
        return json_answer(result)

    async def reverse(self, request: web.Request) -> web.Response:
        """Answer `POST /api/v1/redemptions/{redemption_id}/reversals`."""
        redemption_id = code_in_path(request, "redemption_id")
        asked = await read_json(request, ReversalRequest, limit=SMALL_BYTES_MAX)
        with kinds.as_problems():
            result = await self._redeeming.give_back(redemption_id, asked)
        self._reversals.inc()
        return json_answer(result)
