import asyncio
import logging
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
import trustme
from aiohttp import web

from sync.runtime.http_server import (
    BASE_HEADERS,
    DRAIN_S,
    PortTaken,
    ServedAt,
    ServeError,
    closes_with_server,
    parser_name,
    serve,
    stopping,
)
from sync.runtime.problems import problem_middleware

CANARY = "canary-4711"
PAGE_POLICY = "default-src 'none'; script-src 'self'"


async def echo(request: web.Request) -> web.Response:
    return web.json_response({"bytes": len(await request.read())})


async def own_policy(_: web.Request) -> web.Response:
    return web.Response(text="page", headers={"Content-Security-Policy": PAGE_POLICY, "Cache-Control": "max-age=5"})


async def plain(_: web.Request) -> web.Response:
    return web.Response(text="plain")


async def broken(_: web.Request) -> web.Response:
    raise RuntimeError(CANARY)


async def live(request: web.Request) -> web.WebSocketResponse:
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    with closes_with_server(request, ws):
        async for message in ws:
            await ws.send_str(f"echo {message.data}")
    return ws


async def deaf_socket(request: web.Request) -> web.WebSocketResponse:
    """Never registers, so only the deadline ends it."""
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    await ws.send_str("open")
    await asyncio.Event().wait()
    return ws


async def poll(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    await answer.write(b"waited ")
    await stopping(request.app).wait()
    await answer.write(b"and told")
    return answer


async def deaf(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    await answer.write(b"waiting ")
    await asyncio.Event().wait()
    return answer


@asynccontextmanager
async def door(headers: dict[str, str] | None = None) -> AsyncIterator[ServedAt]:
    app = web.Application(middlewares=[problem_middleware], client_max_size=1000)
    app.router.add_post("/echo", echo)
    app.router.add_get("/page", own_policy)
    app.router.add_get("/plain", plain)
    app.router.add_get("/broken", broken)
    app.router.add_get("/live", live)
    app.router.add_get("/deaf-socket", deaf_socket)
    app.router.add_get("/poll", poll)
    app.router.add_get("/deaf", deaf)
    async with serve(app, "127.0.0.1", 0, headers=headers) as at:
        yield at


async def raw(at: ServedAt, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes as they are and return status, headers and body of the first answer, once the server hangs up."""
    reader, writer = await asyncio.open_connection(at.host, at.port)
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), timeout=10)
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    return int(status_line.split()[1]), dict(line.split(": ", 1) for line in lines), body


def assert_closed_by_default(headers: dict[str, str]) -> None:
    names = {name.lower() for name in headers}
    assert not names & {"server", "x-powered-by", "via", "access-control-allow-origin"}
    for name, value in BASE_HEADERS.items():
        assert headers[name] == value
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")


HOST = b"Host: 127.0.0.1\r\nConnection: close\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\n\r\nhi", 200),
        (b"HEAD /plain HTTP/1.1\r\n" + HOST + b"\r\n", 200),
        (b"GET /nowhere HTTP/1.1\r\n" + HOST + b"\r\n", 404),
        (b"TRACE /page HTTP/1.1\r\n" + HOST + b"\r\n", 405),
        (b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 2000\r\n\r\n" + b"x" * 2000, 413),
        (b"GET /page HTTP/1.1\r\n" + HOST + b"Expect: nothing\r\n\r\n", 417),
        (b"GET /broken HTTP/1.1\r\n" + HOST + b"\r\n", 500),
        (b"rubbish canary-4711\r\n\r\n", 400),
        (b"GET /page HTTP/9.9\r\n" + HOST + b"\r\n", 400),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET /page HTTP/1.1\r\n" + HOST + b"X: " + b"x" * 20_000 + b"\r\n\r\n", 400),
        (b"GET /page HTTP/1.1\r\n" + HOST + b"bad header\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"POST /echo HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n", 400),
    ],
)
async def test_every_answer_has_the_security_headers_and_no_version(request_bytes: bytes, status: int) -> None:
    async with door() as at:
        got, headers, body = await raw(at, request_bytes)
    assert got == status
    assert_closed_by_default(headers)
    if status >= 400:
        assert headers["Content-Type"] == "application/problem+json; charset=utf-8"
    assert b"aiohttp" not in body
    assert b"Python" not in body
    assert CANARY.encode() not in body


@pytest.mark.parametrize(
    "smuggled",
    [
        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        b"Content-Length: 3\r\nContent-Length: 5\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Content-Length: +3\r\n",
        b"Content-Length: 3\r\n folded: 1\r\n",
    ],
)
async def test_request_that_two_readers_may_cut_differently_is_refused(smuggled: bytes) -> None:
    request = b"POST /echo HTTP/1.1\r\nHost: 127.0.0.1\r\n" + smuggled + b"\r\n0\r\n\r\nGET /page HTTP/1.1\r\n\r\n"
    async with door() as at:
        status, _, body = await raw(at, request)  # ends only when the server has hung up
    assert status == 400
    assert b"HTTP/1.1" not in body


async def test_malformed_request_is_logged_without_its_bytes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with door() as at:
        await raw(at, f"{CANARY} {CANARY}\r\n\r\n".encode())
        await raw(at, b"GET /page?" + CANARY.encode() + b" HTTP/1.1\r\n" + HOST + b"\r\n")
    assert "malformed request" in caplog.text
    assert CANARY not in caplog.text


async def test_a_body_that_cannot_be_unpacked_fills_no_log_with_tracebacks(caplog: pytest.LogCaptureFixture) -> None:
    body = b"no gzip at all, and quite long" * 100
    request = (
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Type: application/json\r\n"
        b"Content-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body
    )
    with caplog.at_level(logging.INFO):
        async with door() as at:
            status, _, _ = await raw(at, request)
    assert status == 400
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []
    assert "Traceback" not in caplog.text


async def test_websocket_handshake_has_the_headers_too() -> None:
    async with (
        door() as at,
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://{at.host}:{at.port}/live") as ws,
    ):
        await ws.send_str("hello")
        assert await ws.receive_str() == "echo hello"
        assert_closed_by_default(dict(ws._response.headers))


async def test_door_and_answer_may_set_their_own_headers() -> None:
    async with door(headers={"Content-Security-Policy": "default-src 'none'; img-src 'self'"}) as at:
        _, headers, _ = await raw(at, b"GET /nowhere HTTP/1.1\r\n" + HOST + b"\r\n")
        assert headers["Content-Security-Policy"] == "default-src 'none'; img-src 'self'"
        _, headers, _ = await raw(at, b"GET /page HTTP/1.1\r\n" + HOST + b"\r\n")
        assert headers["Content-Security-Policy"] == PAGE_POLICY
        assert headers["Cache-Control"] == "max-age=5"


async def test_taken_port_is_one_clear_line_with_host_and_port() -> None:
    async with door() as at:
        with pytest.raises(PortTaken) as caught:
            async with serve(web.Application(), "127.0.0.1", at.port):
                pass
        assert (caught.value.host, caught.value.port) == ("127.0.0.1", at.port)
        assert "\n" not in str(caught.value)
        assert f"port {at.port} on 127.0.0.1 is taken" in str(caught.value)


async def test_port_is_free_again_as_soon_as_the_server_stopped() -> None:
    async with door() as at:
        await raw(at, b"GET /page HTTP/1.1\r\n" + HOST + b"\r\n")
    async with serve(web.Application(), "127.0.0.1", at.port) as again:
        assert again == at


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
async def test_plain_http_is_refused_beyond_loopback(host: str) -> None:
    with pytest.raises(ServeError, match="plain http"):
        async with serve(web.Application(), host, 0):
            pass


async def test_address_of_another_machine_is_one_clear_line() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for host in ("192.0.2.1", "no.such.host.invalid"):
        with pytest.raises(ServeError):
            async with serve(web.Application(), host, 0, ssl_context=context):
                pass


async def test_ipv6_loopback_is_served() -> None:
    app = web.Application()
    app.router.add_get("/page", own_policy)
    async with serve(app, "::1", 0) as at:
        assert (await raw(at, b"GET /page HTTP/1.1\r\n" + HOST + b"\r\n"))[0] == 200


async def test_tls_door_answers_over_tls() -> None:
    authority = trustme.CA()
    server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    app = web.Application()
    app.router.add_get("/page", own_policy)
    async with (
        serve(app, "127.0.0.1", 0, ssl_context=server) as at,
        aiohttp.ClientSession() as session,
        session.get(f"https://{at.host}:{at.port}/page", ssl=client) as answer,
    ):
        assert await answer.text() == "page"


async def test_stop_ends_a_long_poll_with_an_answer_and_a_socket_with_a_reason() -> None:
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        async with door() as at:
            ws = await session.ws_connect(f"http://{at.host}:{at.port}/live")
            await ws.send_str("hello")
            await ws.receive_str()
            polled = await session.get(f"http://{at.host}:{at.port}/poll")
            closed = group.create_task(ws.receive())
            begun = time.monotonic()
        assert time.monotonic() - begun < DRAIN_S
        assert await polled.text() == "waited and told"
    assert (closed.result().type, closed.result().data) == (
        aiohttp.WSMsgType.CLOSE,
        aiohttp.WSCloseCode.GOING_AWAY,
    )


async def test_stop_has_a_deadline_even_for_handlers_that_never_end() -> None:
    async with aiohttp.ClientSession() as session:
        async with door() as at:
            ws = await session.ws_connect(f"http://{at.host}:{at.port}/deaf-socket")
            await ws.receive_str()
            cut = await session.get(f"http://{at.host}:{at.port}/deaf")
            begun = time.monotonic()
        assert time.monotonic() - begun < 2 * DRAIN_S + 0.5
        with pytest.raises(aiohttp.ClientPayloadError):
            await cut.read()
        await ws.close()


async def test_application_that_cannot_start_leaves_the_port_free() -> None:
    async def fail(_: web.Application) -> None:
        raise LookupError("no")

    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    app = web.Application()
    app.on_startup.append(fail)
    with pytest.raises(LookupError):
        async with serve(app, "127.0.0.1", port):
            pass
    async with serve(web.Application(), "127.0.0.1", port) as at:
        assert at.port == port


def test_the_compiled_parser_is_in_use() -> None:
    assert parser_name() == "c"
