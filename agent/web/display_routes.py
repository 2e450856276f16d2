"""The two routes of the customer's display. Its own token opens these, and nothing else."""

from collections.abc import Sequence
from http import HTTPStatus

from aiohttp import hdrs, web

from agent.display import CustomerDisplay, Display
from agent.web.access import Access
from agent.web.live import Live
from agent.web.openapi import Operation
from sync.runtime.answers import json_answer


class DisplayRoutes:
    """What the customer's display may ask."""

    def __init__(self, display: CustomerDisplay, live: Live) -> None:
        self._display = display
        self._live = live

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
            Operation(
                hdrs.METH_GET,
                "/api/v1/display/live",
                "followDisplay",
                "Follow the customer's display over a WebSocket, as followScreen does the screen.",
                Access.DISPLAY_SOCKET,
                self._live.handle,
                gives=Display,
                status=HTTPStatus.SWITCHING_PROTOCOLS,
            ),
        )

    async def display(self, _: web.Request) -> web.Response:
        """Answer `GET /api/v1/display`."""
        return json_answer(self._display.state)
