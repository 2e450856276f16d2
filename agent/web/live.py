"""The live socket: the screen's state, whole and numbered, at each change.

The newest state wins, so a page that was slow sees a gap in `seq` and reads `GET /api/v1/screen`. What a page says
after its token is not listened to: acts go through the routes, where the guard stands.
"""

import asyncio

from aiohttp import web

from agent.screen import Screen
from agent.web.guard import Caller, Guard, new_socket
from agent.web.sessions import PageDoor
from sync.runtime.clock import Clock
from sync.runtime.http_server import closes_with_server


class Live:
    """Serves `WS /api/v1/live`."""

    def __init__(self, screen: Screen, guard: Guard, door: PageDoor, clock: Clock) -> None:
        self._screen = screen
        self._guard = guard
        self._door = door
        self._clock = clock

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        """Send the state now and at each change, for as long as the caller may see it."""
        ws = new_socket()
        await ws.prepare(request)
        with closes_with_server(request, ws):
            caller = await self._guard.admit_socket(request, ws)
            if caller is not None:
                async with asyncio.TaskGroup() as group:
                    telling = group.create_task(self._tell(ws, caller))
                    async for _ in ws:
                        pass
                    telling.cancel()
        return ws

    async def _tell(self, ws: web.WebSocketResponse, caller: Caller) -> None:
        state = self._screen.state
        while not ws.closed and self._may_see(caller):
            try:
                await ws.send_str(state.model_dump_json())
            except ConnectionError:
                return
            state = await self._screen.beyond(state.seq)
        await ws.close()

    def _may_see(self, caller: Caller) -> bool:
        return caller.session_id is None or self._door.keep_open(caller.session_id, self._clock.monotonic())
