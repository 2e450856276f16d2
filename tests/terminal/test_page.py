"""The page as it is served: the policy, the allow-list, its weight, and what its files may not hold."""

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
from agent.web.page import PAGE_CONTENT_SECURITY_POLICY, STATIC, compact, page_routes
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
    "credit.card",
    "credit.empty",
    "credit.large",
    "credit.negative",
    "credit.nobody",
    "credit.too_large",
    "credit.unread",
    "customer.language.",
    "hub.fault.",
    "key.",
    "language.",
    "offer.in.",
    "other.",
    "outbox.state.",
    "problem.",
    "reason.",
    "redeem.why.",
    "shift.state.",
    "undo.given_back",
    "undo.taken_back",
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


async def test_every_file_of_the_folder_is_on_the_list_and_served() -> None:
    assert sorted([*STATIC, "customer.html", "index.html"]) == sorted(SOURCES)
    async with served() as (session, url):
        for name in STATIC:
            async with session.get(f"{url}/static/{name}") as answer:
                assert await answer.text() == compact(name, SOURCES[name])


def test_what_is_served_is_the_source_without_what_only_people_read() -> None:
    assert compact("a.js", "// Why.\n\nlet a = 1; // kept\n  a += 2;\n") == "let a = 1; // kept\na +=2;"
    assert compact("a.js", "go(\n  a,\n  b)\n  .then();\nif (a) {\n  b()\n}\nelse c()\n") == (
        "go(a,b).then();if(a){b()}\nelse c()"
    )


@pytest.mark.parametrize("line", ['say("a = b, c"," ; ")', "a = /[ , ] = ;/", "a = ` = ${b} , `", "a = ' ; '"])
def test_no_space_of_a_text_or_a_pattern_is_taken(line: str) -> None:
    assert compact("a.js", line) == line


def test_the_style_sheet_is_served_without_its_space() -> None:
    assert (
        compact("a.css", "/* Why. */\n.a,\n.b > i:hover { margin: 0 0.5rem 10.5px; }\n")
        == ".a,.b>i:hover{margin:0 .5rem 10.5px}"
    )


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_no_text_of_a_script_stands_over_several_lines(name: str) -> None:
    for line in SCRIPTS[name].splitlines():
        if not line.strip().startswith("//"):
            assert line.count("`") % 2 == 0, line
            assert "/*" not in re.sub(r"\"[^\"]*\"|`[^`]*`|/\S.*/", "", line), line


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
            said: dict[str, str] = {}
            for name in (f"{language}.json", f"{language}-panels.json", f"{language}-display.json"):
                async with session.get(f"{url}/texts/{name}") as answer:
                    said |= await answer.json()
            assert said == {key: text for key, text in texts.load(language).items() if not key.startswith("reason.")}


def test_the_page_is_open_to_a_browser_and_holds_no_data() -> None:
    assert {route.access for route in page_routes()} == {Access.DOCUMENT}
    assert {route.method for route in page_routes()} == {"GET"}


async def test_the_whole_page_is_light() -> None:
    """Uncompressed, as it goes over the line: the document, its styles and icon, every module, the texts."""
    parts = ["/", "/static/style.css", "/static/icon.svg", *(f"/static/{name}" for name in loaded("app.js"))]
    parts += [f"/texts/{language}.json" for language in texts.LANGUAGES]
    weights = await weighed(*parts)

    assert sum(weights.values()) <= WEIGHT_MAX, weights


async def test_the_customers_display_is_lighter_still_and_loads_none_of_the_staffs_page() -> None:
    modules = loaded("customer.js")
    parts = ["/customer", "/static/customer.css", "/static/icon.svg", *(f"/static/{name}" for name in modules)]
    parts += [f"/texts/{name}.json" for language in texts.LANGUAGES for name in (language, f"{language}-display")]
    weights = await weighed(*parts)

    assert modules == {"customer.js", "el.js", "till.js", "words.js"}
    assert sum(weights.values()) <= WEIGHT_MAX / 2, weights


async def weighed(*parts: str) -> dict[str, int]:
    weights = {}
    async with served() as (session, url):
        for part in parts:
            async with session.get(url + part) as answer:
                assert answer.status == 200
                weights[part] = len(await answer.read())
    return weights


def loaded(name: str, known: frozenset[str] = frozenset()) -> frozenset[str]:
    """This module, and every module that it loads with itself."""
    for other in re.findall(r"^import (?:.* from )?\"\./([a-z_]+\.js)\"", SCRIPTS[name], flags=re.MULTILINE):
        if other not in known | {name}:
            known |= loaded(other, known | {name})
    return known | {name}


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


def test_no_two_things_that_happen_sound_the_same() -> None:
    tunes = re.findall(r"^  [a-z_]+: (\[\[.*\]\]),$", SCRIPTS["sounds.js"], flags=re.MULTILINE)

    assert len(set(tunes)) == len(tunes) > 10


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
