"""The page as it is served: the policy, the allow-list, its weight, and what its files may not hold."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

import agent.web
from agent import texts
from agent.web import problem_kinds
from agent.web.access import Access
from agent.web.guard import Guard, PosKey
from agent.web.page import PAGE_CONTENT_SECURITY_POLICY, STATIC, page_routes
from agent.web.sessions import PageDoor
from sync.runtime.http_server import serve
from sync.runtime.metrics import Metrics
from sync.runtime.problems import problem_middleware
from tests.support.clock import FakeClock

FOLDER = Path(agent.web.__file__).parent / "static"
SOURCES = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}
SCRIPTS = {name: text for name, text in SOURCES.items() if name.endswith(".js")}
KEYS = frozenset(texts.load("en"))
# Keys that the page, or the agent, puts together from a code; tests/pure/test_texts.py holds these to the codes.
FAMILIES = (
    "card.asked.",
    "caution.",
    "customer.language.",
    "hub.fault.",
    "language.",
    "offer.in.",
    "other.",
    "outbox.state.",
    "problem.",
    "reason.",
    "unreadable.",
)
WEIGHT_MAX = 100 * 1000

POLICY = {
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
}


@asynccontextmanager
async def served() -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    """The page behind the real guard, on a real socket, asked without any credential."""
    routes = page_routes()
    access = {(method, path): page_access for method, path, page_access, _ in routes}
    metrics = Metrics(program="till", version="0")
    guard = Guard(access, pos_key=PosKey("lapos_key"), door=PageDoor(), clock=FakeClock(), metrics=metrics)
    app = web.Application(middlewares=[problem_middleware, guard.middleware])
    for method, path, _, handler in routes:
        app.router.add_route(method, path, handler)
    async with serve(app, "127.0.0.1", 0) as at, aiohttp.ClientSession() as session:
        yield session, f"http://127.0.0.1:{at.port}"


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/", "text/html"),
        ("/customer", "text/html"),
        ("/static/app.js", "text/javascript"),
        ("/static/style.css", "text/css"),
        ("/static/icon.svg", "image/svg+xml"),
        ("/texts/en.json", "application/json"),
        ("/texts/fr.json", "application/json"),
    ],
)
async def test_each_part_is_served_whole_with_its_type_and_the_policy(path: str, content_type: str) -> None:
    async with served() as (session, url), session.get(url + path) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == f"{content_type}; charset=utf-8"
        assert set(answer.headers["Content-Security-Policy"].split("; ")) == POLICY
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert "Server" not in answer.headers


async def test_every_file_of_the_folder_is_on_the_list_and_served_as_it_is() -> None:
    assert sorted([*STATIC, "customer.html", "index.html"]) == sorted(SOURCES)
    async with served() as (session, url):
        for name in STATIC:
            async with session.get(f"{url}/static/{name}") as answer:
                assert await answer.text() == SOURCES[name]


@pytest.mark.parametrize(
    "path",
    [
        "/static/index.html",
        "/static/customer.html",
        "/customer.html",
        "/customer/",
        "/static/page.py",
        "/static/..%2fpage.py",
        "/static/%2e%2e/page.py",
        "/static/",
        "/static/app.js/",
        "/static/APP.JS",
        "/texts/de.json",
        "/texts/..%2f__init__.py",
        "/favicon.ico",
        "/index.html",
    ],
)
async def test_nothing_else_is_served(path: str) -> None:
    async with served() as (session, url), session.get(URL(url + path, encoded=True)) as answer:
        assert answer.status in (401, 404)
        assert answer.content_type == "application/problem+json"


async def test_the_page_gets_the_words_that_the_agent_uses() -> None:
    async with served() as (session, url):
        for language in texts.LANGUAGES:
            async with session.get(f"{url}/texts/{language}.json") as answer:
                assert await answer.json() == dict(texts.load(language))


def test_the_page_is_open_to_a_browser_and_holds_no_data() -> None:
    assert {route.access for route in page_routes()} == {Access.DOCUMENT}
    assert {route.method for route in page_routes()} == {"GET"}


def test_the_whole_page_is_light() -> None:
    words = sum(
        len(json.dumps(dict(texts.load(language)), ensure_ascii=False).encode()) for language in texts.LANGUAGES
    )

    assert sum(len(text.encode()) for text in SOURCES.values()) + words <= WEIGHT_MAX


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_no_file_asks_for_anything_elsewhere(name: str) -> None:
    elsewhere = re.findall(
        r"(?:https?:|wss?:)?//[^\s\"'`$]+", re.sub(r"^\s*//.*$", "", SOURCES[name], flags=re.MULTILINE)
    )

    assert set(elsewhere) <= {"http://www.w3.org/2000/svg", "ws://"}
    assert not re.search(r"@import|url\(", SOURCES[name])


FORBIDDEN = (
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment|setHTML"
    r"|\beval\b|new Function|setTimeout\(\s*[\"'`]|javascript:|localStorage|sessionStorage|indexedDB|document\.cookie"
    r"|caches\b|serviceWorker|\.style\b|[\"'`]style[\"'`]"
)


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_no_script_writes_markup_runs_text_or_stores_anything(name: str) -> None:
    assert not re.search(FORBIDDEN, SCRIPTS[name])


@pytest.mark.parametrize("name", ["index.html", "customer.html"])
def test_no_document_holds_an_inline_script_or_style(name: str) -> None:
    document = SOURCES[name]

    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", document)
    assert 'role="status"' in document
    assert name == "customer.html" or 'role="alert"' in document


def test_every_text_that_the_page_names_exists() -> None:
    named = {key for text in SCRIPTS.values() for key in re.findall(r"say\(\s*\"([a-z_.]+)\"", text)}
    counted = {stem for text in SCRIPTS.values() for stem in re.findall(r"sayCount\(\s*\"([a-z_.]+)\"", text)}

    assert named <= KEYS
    assert {f"{stem}.{form}" for stem in counted for form in ("one", "other")} <= KEYS
    assert named
    assert counted


def test_no_text_is_kept_that_nobody_says() -> None:
    literals = {text for source in SCRIPTS.values() for text in re.findall(r"\"([a-z_]+\.[a-z_.]+)\"", source)}
    unsaid = {
        key
        for key in KEYS
        if key not in literals and re.sub(r"\.(one|other)$", "", key) not in literals and not key.startswith(FAMILIES)
    }

    assert unsaid == set()


def test_the_policy_is_exactly_the_agreed_one() -> None:
    assert set(PAGE_CONTENT_SECURITY_POLICY.split("; ")) == POLICY


def test_the_problems_that_are_put_into_words_are_those_there_are() -> None:
    said = {key.removeprefix("problem.") for key in KEYS if key.startswith("problem.")} - {"other"}

    assert said
    assert said <= set(problem_kinds.CODES)
