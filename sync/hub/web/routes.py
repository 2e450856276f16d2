"""The hub's door: storesync/1 over HTTP, and three routes for the people who run it.

A terminal comes with its bearer credential on every route below `/v1` but the enrolment, and with the epoch of its
last hello on every route that could else mix up two histories of the hub. Bodies are JSON of at most a stated size; an
upload may be gzipped, and its size is that of what is inside.
"""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import NamedTuple

from aiohttp import hdrs, web
from pydantic import Field

from sync.contract.allowance import AllowancesRequest
from sync.contract.chain import PROOF_HEADER
from sync.contract.cursors import FeedCursor, read_cursor, write_cursor
from sync.contract.customers import Value
from sync.contract.digest import DigestAnswer
from sync.contract.identifiers import identifier_id
from sync.contract.program import Program
from sync.contract.protocol import (
    BATCH_BYTES_MAX,
    BATCH_CONTENT_TYPE,
    BATCH_EVENTS_MAX,
    FEED_CHANGES_MAX,
    FEED_WAIT_S_MAX,
    SNAPSHOT_CONTENT_TYPE,
    EnrolRequest,
    HelloRequest,
    IdentifiersAnswer,
    IdentifiersRequest,
    SnapshotManifest,
)
from sync.hub.feed.digests import bucket_text
from sync.hub.feed.feed_log import last_pos
from sync.hub.feed.pages import Page, Resync, covered, page_text, read_page
from sync.hub.feed.snapshot_files import Snapshot
from sync.hub.feed.snapshots import Snapshots
from sync.hub.people.erasures import is_news, note_passed
from sync.hub.people.presented import keep
from sync.hub.uploads.batch import Sender
from sync.hub.web.guard import (
    SERVICES,
    TERMINAL,
    Services,
    check_admin,
    check_download,
    check_epoch,
    guard_middleware,
    services_of,
)
from sync.hub.web.refusals import BUSY, IDENTIFIER_MISMATCH, WRONG_STREAM, refusal_middleware
from sync.runtime.answers import json_answer
from sync.runtime.bodies import read_body, read_json, read_query
from sync.runtime.http_server import stopping
from sync.runtime.problems import Problem, problem_middleware

_ENROLMENT_BYTES_MAX = 4 * 1024
# Two hundred identifiers are some 70 kB; a thousand incarnations some 50 kB, a thousand allowances three times that.
_IDENTIFIERS_BYTES_MAX = 128 * 1024
_HELLO_BYTES_MAX = 512 * 1024
_WANTS_BYTES_MAX = 16 * 1024
# The events, and what the list around them adds.
_UPLOAD_BYTES_MAX = BATCH_BYTES_MAX + BATCH_EVENTS_MAX + 1


class Route(NamedTuple):
    """One route: what the README lists and the application serves."""

    method: str
    path: str
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    meaning: str


class _FeedQuery(Value):
    cursor: str = Field(default="", max_length=200)
    limit: int = Field(default=FEED_CHANGES_MAX, ge=1, le=FEED_CHANGES_MAX)
    wait: int = Field(default=0, ge=0, le=FEED_WAIT_S_MAX)
    until: str | None = Field(default=None, max_length=200)


class _DigestQuery(Value):
    cursor: str = Field(default="", max_length=200)


def make_app(services: Services) -> web.Application:
    """Return the application, ready to be served."""
    app = web.Application(middlewares=[problem_middleware, refusal_middleware, guard_middleware])
    app[SERVICES] = services
    app.add_routes([web.route(route.method, route.path, route.handler) for route in ROUTES])
    return app


async def post_enrolment(request: web.Request) -> web.StreamResponse:
    """Turn a one-time code into a terminal."""
    enrolment = await read_json(request, EnrolRequest, limit=_ENROLMENT_BYTES_MAX)
    return json_answer(await services_of(request).reception.enrol(enrolment), HTTPStatus.CREATED)


async def post_credential(request: web.Request) -> web.StreamResponse:
    """Hand out a new credential."""
    return json_answer(await services_of(request).reception.rotate(request[TERMINAL]), HTTPStatus.CREATED)


async def post_hello(request: web.Request) -> web.StreamResponse:
    """Greet a terminal."""
    hello = await read_json(request, HelloRequest, limit=_HELLO_BYTES_MAX)
    return json_answer(await services_of(request).reception.hello(request[TERMINAL], hello))


async def put_stream(request: web.Request) -> web.StreamResponse:
    """Take a range of events."""
    check_epoch(request)
    terminal, place = request[TERMINAL], request.match_info
    if place["terminal"] != terminal.terminal_id:
        raise Problem(WRONG_STREAM, "The credential is another terminal's.")
    body = await read_body(request, limit=_UPLOAD_BYTES_MAX, media_types=(BATCH_CONTENT_TYPE,), gzip=True)
    sender = Sender(terminal.terminal_id, terminal.store_id, place["inc"], terminal.public_key)
    proof = request.headers.get(PROOF_HEADER, "")
    return json_answer(await services_of(request).intake.upload(sender, int(place["first"]), body, proof))


async def get_feed(request: web.Request) -> web.StreamResponse:
    """Return what changed after the cursor, waiting for a first change where nothing did."""
    check_download(request)
    query = read_query(request, _FeedQuery)
    services, after = services_of(request), _position(request, query.cursor)
    until = _position(request, query.until) if query.until is not None else None
    page = await _page(request, after, query.limit, until)
    if page.pos == after and query.wait and until is None:
        await services.head.wait_beyond(after, query.wait, stopping(request.app))
        page = await _page(request, after, query.limit)
    text = page_text(page, services.founding.epoch, services.clock.now())
    return web.Response(body=text.encode(), content_type="application/json")


async def get_current_snapshot(request: web.Request) -> web.StreamResponse:
    """Return the manifest of a fresh snapshot; one is begun where there is none."""
    check_download(request)
    return await _manifest(request, await (await _snapshots(request)).current())


async def get_snapshot(request: web.Request) -> web.StreamResponse:
    """Return the manifest of a snapshot that was begun before."""
    check_download(request)
    snapshots = await _snapshots(request)
    return await _manifest(request, snapshots.named(request.match_info["snapshot"]))


async def get_chunk(request: web.Request) -> web.StreamResponse:
    """Return one chunk as it lies: gzipped bytes, and not as a transport's encoding."""
    check_download(request)
    place = request.match_info
    data = await (await _snapshots(request)).chunk(place["snapshot"], int(place["number"]))
    return web.Response(body=data, content_type=SNAPSHOT_CONTENT_TYPE)


async def get_digest(request: web.Request) -> web.StreamResponse:
    """Return the sums of what a cache must hold, as of a position that the asking terminal has not passed."""
    check_download(request)
    services = services_of(request)
    digest = await services.digests.not_before(_position(request, read_query(request, _DigestQuery).cursor))
    epoch = services.founding.epoch
    cursor = write_cursor(FeedCursor(epoch, digest.pos))
    return json_answer(DigestAnswer(hub_epoch=epoch, cursor=cursor, as_of=digest.as_of, buckets=digest.buckets))


async def get_bucket(request: web.Request) -> web.StreamResponse:
    """Return all rows of one bucket of the digest, as they are now."""
    check_download(request)
    services, number = services_of(request), int(request.match_info["bucket"], 16)
    text = bucket_text(await services.digests.bucket(number), number, services.founding.epoch)
    return web.Response(body=text.encode(), content_type="application/json")


async def post_identifiers(request: web.Request) -> web.StreamResponse:
    """Keep what was presented at a counter, and say which of it leads to a customer."""
    check_epoch(request)
    services, terminal = services_of(request), request[TERMINAL]
    asked = await read_json(request, IdentifiersRequest, limit=_IDENTIFIERS_BYTES_MAX)
    key = services.founding.identifier_key
    if any(one.id != identifier_id(key, one.identifier.scheme, one.identifier.value) for one in asked.presented):
        raise Problem(IDENTIFIER_MISMATCH)
    now = services.clock.now()
    known = await services.writer.write(lambda connection: keep(connection, asked.presented, terminal.terminal_id, now))
    return json_answer(IdentifiersAnswer(known=known))


async def post_allowances(request: web.Request) -> web.StreamResponse:
    """Reserve points for a terminal, and say all that it holds."""
    check_epoch(request)
    terminal = request[TERMINAL]
    asked = await read_json(request, AllowancesRequest, limit=_WANTS_BYTES_MAX)
    word = await services_of(request).reserving.ask(terminal.terminal_id, terminal.store_id, asked)
    return json_answer(word)


async def get_healthz(_: web.Request) -> web.StreamResponse:
    """Say that the process answers, and nothing else."""
    return web.json_response({"status": "ok"})


async def get_readyz(request: web.Request) -> web.StreamResponse:
    """Say whether the database answers and every loop runs."""
    services = services_of(request)
    await services.reader.read(last_pos)
    if not services.board.all_running():
        raise Problem(BUSY, "A part of the hub is being started again.", headers={hdrs.RETRY_AFTER: "5"})
    return web.json_response({"status": "ready"})


async def get_metrics(request: web.Request) -> web.StreamResponse:
    """Return the metrics to whoever holds the admin key."""
    check_admin(request)
    services = services_of(request)
    await services.figures.read()
    body, content_type = services.metrics.render()
    return web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type})


ROUTES = (
    Route("POST", "/v1/enrolments", post_enrolment, "a one-time code becomes a terminal"),
    Route("POST", "/v1/credentials", post_credential, "a new credential; the old one serves until it is used"),
    Route("POST", "/v1/hello", post_hello, "the first call: epoch, how far the hub holds each incarnation, limits"),
    Route(
        "PUT",
        "/v1/streams/{terminal}/{inc:[0-9a-f]{16}}/{first:[1-9][0-9]{0,8}}",
        put_stream,
        "a range of events, one verdict each",
    ),
    Route("GET", "/v1/feed", get_feed, "what changed after a cursor, and what that covers; long poll"),
    Route("GET", "/v1/snapshots/current", get_current_snapshot, "the manifest of a fresh snapshot"),
    Route("GET", "/v1/snapshots/{snapshot:[0-9a-f]{32}}", get_snapshot, "the manifest of that snapshot"),
    Route(
        "GET",
        "/v1/snapshots/{snapshot:[0-9a-f]{32}}/{number:[1-9][0-9]{0,8}}",
        get_chunk,
        "one chunk: gzipped NDJSON",
    ),
    Route("GET", "/v1/digest", get_digest, "256 sums of what a cache must hold, as of a position"),
    Route("GET", "/v1/digest/{bucket:[0-9a-f]{2}}", get_bucket, "all rows of one of the 256 buckets"),
    Route("POST", "/v1/identifiers", post_identifiers, "whom do presented cards, phones and e-mails lead to"),
    Route("POST", "/v1/allowances", post_allowances, "points reserved for this till, so that it may redeem on its own"),
    Route("GET", "/healthz", get_healthz, "the process answers"),
    Route("GET", "/readyz", get_readyz, "the database answers and every loop runs"),
    Route("GET", "/metrics", get_metrics, "Prometheus metrics; needs the admin key as bearer"),
)


def _position(request: web.Request, text: str) -> int:
    """Return the position that a cursor of this hub says.

    Raises:
        Resync: it is of another history, or no cursor.
    """
    cursor = read_cursor(text)
    if cursor is None or cursor.hub_epoch != services_of(request).founding.epoch:
        raise Resync
    return cursor.position


async def _page(request: web.Request, after: int, limit: int, until: int | None = None) -> Page:
    """Return a page, and write down whether the till has erased whom it was told to.

    What it asks for next, it keeps in the same commit as all that came before.
    """
    services, terminal_id = services_of(request), request[TERMINAL].terminal_id
    page, has_passed = await services.reader.read(
        lambda connection: (
            read_page(connection, terminal_id, after, limit, until),
            is_news(connection, terminal_id, after),
        )
    )
    if has_passed:
        await services.writer.write(lambda connection: note_passed(connection, terminal_id, after))
    return page


async def _snapshots(request: web.Request) -> Snapshots:
    """Return the snapshots, none of which holds anybody who is erased by now."""
    services = services_of(request)
    await services.snapshots.learn_of_erasures(services.reader)
    return services.snapshots


async def _manifest(request: web.Request, snapshot: Snapshot) -> web.Response:
    services, terminal_id, pos = services_of(request), request[TERMINAL].terminal_id, snapshot.begun.pos
    coverage = await services.reader.read(lambda connection: covered(connection, terminal_id, pos))
    return json_answer(
        SnapshotManifest(
            snapshot_id=snapshot.snapshot_id,
            hub_epoch=snapshot.epoch,
            cursor=write_cursor(FeedCursor(snapshot.epoch, pos)),
            covered=coverage,
            program=Program.model_validate_json(snapshot.begun.program),
            as_of=snapshot.begun.as_of,
            # The flag first: a snapshot that is complete has all its chunks, and one more may come while this runs.
            complete=snapshot.complete,
            chunks=tuple(snapshot.chunks),
        )
    )
