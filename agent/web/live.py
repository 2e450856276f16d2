"""The live sockets: a state, whole and numbered, at each change; one way for page and display.

The newest state wins, so a page that was slow sees a gap in `seq` and reads the state's own route. What a page says
after its token is not listened to: acts go through the routes, where the guard stands.
"""

import asyncio
from typing import Protocol

from aiohttp import web

from agent.web.guard import Caller, Guard, new_socket
from agent.web.sessions import Scope
from sync.runtime.http_server import closes_with_server


class Numbered(Protocol):
    """A state of something; `seq` grows with each change."""

    @property
    def seq(self) -> int:
        """The number of this state."""

    def model_dump_json(self) -> str:
        """Return it as it goes over the line."""


class Watched(Protocol):
    """Something whose newest state can be read and waited for."""

    @property
    def state(self) -> Numbered:
        """The newest state."""

    async def beyond(self, seq: int) -> Numbered:
        """Return the newest state once it is newer than `seq`."""


class Live:
    """Serves one watched state over a WebSocket, to sessions of one scope and to the point of sale."""

    def __init__(self, watched: Watched, guard: Guard, scope: Scope = Scope.PAGE) -> None:
        self._watched = watched
        self._guard = guard
        self._scope = scope

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        """Send the state now and at each change, for as long as the caller may see it."""
        ws = new_socket()
        await ws.prepare(request)
        with closes_with_server(request, ws):
            caller = await self._guard.admit_socket(request, ws, self._scope)
            if caller is not None:
                async with asyncio.TaskGroup() as group:
                    telling = group.create_task(self._tell(ws, caller))
                    async for _ in ws:
                        pass
                    telling.cancel()
        return ws

    async def _tell(self, ws: web.WebSocketResponse, caller: Caller) -> None:
        state = self._watched.state
        while not ws.closed and self._guard.still_admits(caller):
            try:
                await ws.send_str(state.model_dump_json())
            except ConnectionError:
                return
            state = await self._watched.beyond(state.seq)
        await ws.close()
