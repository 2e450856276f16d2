"""The staff's page and the customer's display as static files, served from memory by an allow-list of names.

None of it holds data, so a browser may open it without a credential. Its Content-Security-Policy lets it load and call
nothing but this till, and Trusted Types forbid every sink that turns a text into markup or code: what a scanned code
holds can only ever become text on the screen.

There is no build step: what is served are the sources, without the lines and the space that only people read.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from itertools import pairwise
from typing import NamedTuple

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from agent import texts
from agent.web.access import Access
from sync.contract.customers import Language

PAGE_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
# All that the page may ask of the machine it runs on: nothing.
PERMISSIONS_POLICY = "camera=(), microphone=(), geolocation=(), usb=(), serial=(), hid=(), payment=()"

INDEX = "index.html"
DISPLAY = "customer.html"
STATIC = (
    "amount.js",
    "app.js",
    "asking.js",
    "burst.js",
    "credit.js",
    "customer.css",
    "customer.js",
    "el.js",
    "entry.js",
    "finding.js",
    "icon.svg",
    "icons.js",
    "indicator.js",
    "keys.js",
    "outbox.js",
    "panels.css",
    "panels.js",
    "people.js",
    "redeem.js",
    "scanner.js",
    "scans.js",
    "shift.js",
    "sounds.js",
    "style.css",
    "till.js",
    "undo.js",
    "view.js",
    "voice.js",
    "wedge.js",
    "words.js",
)
# Texts that only a part of the page says go with that part; the hub's reasons come with their events, in words.
TEXTS_APART = {
    "display": ("display.",),
    "panels": (
        "hub.fault.",
        "hub.since",
        "outbox.all",
        "outbox.empty",
        "outbox.event",
        "outbox.filter",
        "outbox.given_back",
        "outbox.redemption",
        "outbox.returned",
        "outbox.rest",
        "outbox.reversal",
        "outbox.sale",
        "outbox.title",
        "redeem.",
        "scanner.",
    ),
    None: ("reason.",),
}

# No statement of a script ends behind the first of these, or before the second, so a line may go on there.
_GOES_ON_BEHIND, _GOES_ON_BEFORE = tuple("{([,;"), tuple("})].?:&|")

# Signs of a script that need no space around them.
_SPACED = re.compile(r" ?(=>|[=!]==|[<>]=?|&&|\|\||\?\?=?|[=?:,;(){}\[\]]) ?")

_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json; charset=utf-8",
    "svg": "image/svg+xml; charset=utf-8",
}


class PageRoute(NamedTuple):
    """One route of the page, as the router and the guard take it."""

    method: str
    path: str
    access: Access
    handler: Handler


def page_routes() -> Sequence[PageRoute]:
    """Return the routes of the page; every file is read now, and never again."""
    index = {INDEX: _static(INDEX)}
    return (
        PageRoute(hdrs.METH_GET, "/", Access.DOCUMENT, _serving(index, INDEX)),
        PageRoute(hdrs.METH_GET, "/customer", Access.DOCUMENT, _serving({DISPLAY: _static(DISPLAY)}, DISPLAY)),
        PageRoute(hdrs.METH_GET, "/static/{name}", Access.DOCUMENT, _serving({name: _static(name) for name in STATIC})),
        PageRoute(hdrs.METH_GET, "/texts/{name}", Access.DOCUMENT, _serving(_catalogues())),
    )


def _serving(files: Mapping[str, bytes], only: str | None = None) -> Handler:
    """Return a handler that serves these files by the `name` in the path, or the only one there is."""

    async def serve(request: web.Request) -> web.Response:
        name = only or request.match_info["name"]
        body = files.get(name)
        if body is None:
            raise web.HTTPNotFound
        return web.Response(
            body=body,
            headers={
                hdrs.CONTENT_TYPE: _TYPES[name.rpartition(".")[2]],
                "Content-Security-Policy": PAGE_CONTENT_SECURITY_POLICY,
                "Permissions-Policy": PERMISSIONS_POLICY,
            },
        )

    return serve


def compact(name: str, source: str) -> str:
    """Return a source without its indentation, empty lines and lines of comment, and a script without its spaces.

    It takes no text that stands over several lines, such as a template literal: a test holds the sources to that. A
    line that holds more than code and plain texts, such as a pattern or a template, keeps its spaces.
    """
    lines = (line.strip() for line in source.splitlines())
    kept = "\n".join(line for line in lines if line and not line.startswith("//"))
    if name.endswith(".js"):
        return "".join(f"{_unspaced(line)}{end}" for line, end in _line_ends(kept.split("\n")))
    if name.endswith(".css"):
        kept = re.sub(r"/\*.*?\*/\s*", "", kept, flags=re.DOTALL)
        return re.sub(r";?\s*(})\s*|\s*([{;,>])\s*|(:)\s+|(?<=[ (,:])0(?=\.\d)", r"\1\2\3", kept)
    return kept


def _line_ends(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Give each line with what ends it; one that may hold a remark at its end always ends."""
    for line, following in pairwise((*lines, "")):
        goes_on = line.endswith(_GOES_ON_BEHIND) or following.startswith(_GOES_ON_BEFORE)
        yield line, "" if not following or (goes_on and "//" not in line) else "\n"


def _unspaced(line: str) -> str:
    parts = line.split('"')
    if any(sign in line for sign in "/`\\") or any("'" in code for code in parts[::2]):
        return line
    return '"'.join(text if place % 2 else _SPACED.sub(r"\1", text) for place, text in enumerate(parts))


def _static(name: str) -> bytes:
    source = resources.files(__package__).joinpath("static", name).read_text(encoding="utf-8")
    return compact(name, source).encode()


def _catalogues() -> Mapping[str, bytes]:
    return {
        name: json.dumps(words, ensure_ascii=False, separators=(",", ":")).encode()
        for language in texts.LANGUAGES
        for name, words in catalogues(language).items()
    }


def catalogues(language: Language) -> Mapping[str, Mapping[str, str]]:
    """Return the texts that the page loads, by file: what it always says, and what a part of it says."""
    files: dict[str, dict[str, str]] = {f"{language}.json": {}}
    for key, text in texts.load(language).items():
        part = next((part for part, prefixes in TEXTS_APART.items() if key.startswith(prefixes)), "")
        if part is not None:
            files.setdefault(f"{language}-{part}.json" if part else f"{language}.json", {})[key] = text
    return files
