"""The route of the customer's display. Its own token opens this and the live socket beside it, and nothing else."""

from collections.abc import Sequence

from aiohttp import hdrs, web

from agent.display import CustomerDisplay, Display
from agent.web.access import Access
from agent.web.openapi import Operation
from sync.runtime.answers import json_answer


class DisplayRoutes:
    """What the customer's display may ask."""

    def __init__(self, display: CustomerDisplay) -> None:
        self._display = display

    def table(self) -> Sequence[Operation]:
        """Return every operation of this room."""
        return (
            Operation(
                hdrs.METH_GET,
                "/api/v1/display",
                "getDisplay",
                "Read all that the customer's display shows now, with its number.",
                Access.DISPLAY,
                self.display,
                gives=Display,
            ),
        )

    async def display(self, _: web.Request) -> web.Response:
        """Answer `GET /api/v1/display`."""
        return json_answer(self._display.state)
