import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.web.access import (
    CROSS_SITE_REFUSED,
    HOST_REFUSED,
    ORIGIN_REFUSED,
    Access,
    Asked,
    own_hosts,
    refusal,
)
from sync.runtime.problems import CONTENT_TYPE_REFUSED, Kind

PORT = 8710
HOST = f"127.0.0.1:{PORT}"
ORIGIN = f"http://{HOST}"
JSON = ("application/json",)


def asked(
    method: str = "GET",
    target: str = "/api/v1/outbox",
    hosts: tuple[str, ...] = (HOST,),
    **rest: tuple[str, ...],
) -> Asked:
    return Asked(method, target, PORT, hosts, **rest)


@pytest.mark.parametrize("access", Access)
@pytest.mark.parametrize(
    "hosts",
    [
        (),
        ("",),
        ("evil",),
        (f"evil:{PORT}",),
        (f"rebind.test:{PORT}",),
        (f"127.0.0.1.evil:{PORT}",),
        (f"localhost.:{PORT}",),
        (f"localhost.evil:{PORT}",),
        (f"127.0.0.2:{PORT}",),
        (f"127.1:{PORT}",),
        (f"2130706433:{PORT}",),
        (f"0.0.0.0:{PORT}",),
        (f"::1:{PORT}",),
        (f"[::]:{PORT}",),
        (f"[::ffff:127.0.0.1]:{PORT}",),
        ("127.0.0.1",),
        ("localhost",),
        ("127.0.0.1:80",),
        (f"127.0.0.1:{PORT}0",),
        (f"user@127.0.0.1:{PORT}",),
        (f" 127.0.0.1:{PORT}",),
        (f"127.0.0.1:{PORT},127.0.0.1:{PORT}",),
        (HOST, HOST),
        (HOST, "evil"),
        ("evil", HOST),
    ],
)
def test_other_names_for_this_till_are_refused_on_every_route(hosts: tuple[str, ...], access: Access) -> None:
    assert refusal(asked(hosts=hosts), access) is HOST_REFUSED


@pytest.mark.parametrize("host", own_hosts(PORT))
def test_own_names_are_taken_with_their_own_origin_only(host: str) -> None:
    for other in own_hosts(PORT):
        expected = None if other == host else ORIGIN_REFUSED
        assert refusal(asked(hosts=(host,), origins=(f"http://{other}",)), Access.CREDENTIAL) is expected


@pytest.mark.parametrize("target", ["http://evil/", f"http://{HOST}/api/v1/outbox", "*", ""])
def test_target_that_would_overrule_the_host_is_refused(target: str) -> None:
    assert refusal(asked(target=target), Access.OPEN) is HOST_REFUSED


@pytest.mark.parametrize("access", Access)
@pytest.mark.parametrize(
    "origins",
    [
        ("null",),
        ("",),
        ("https://evil.example",),
        (f"https://{HOST}",),
        ("http://127.0.0.1",),
        ("http://127.0.0.1:9999",),
        (f"{ORIGIN}/",),
        (f"{ORIGIN}.evil",),
        (ORIGIN.upper(),),
        (ORIGIN, ORIGIN),
        (ORIGIN, "https://evil.example"),
        ("app://evil",),
    ],
)
def test_other_origins_are_refused_on_every_route(origins: tuple[str, ...], access: Access) -> None:
    assert refusal(asked(origins=origins), access) is ORIGIN_REFUSED


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none", "", "Same-Origin", "same-origin, same-origin"])
def test_other_sites_are_refused(site: str) -> None:
    assert refusal(asked(sites=(site,), modes=("cors",)), Access.OPEN) is CROSS_SITE_REFUSED


def test_sec_fetch_headers_that_come_twice_are_refused() -> None:
    twice = ("same-origin", "same-origin")
    assert refusal(asked(sites=twice), Access.OPEN) is CROSS_SITE_REFUSED
    assert refusal(asked(sites=("same-origin",), modes=("cors", "cors")), Access.OPEN) is CROSS_SITE_REFUSED


@pytest.mark.parametrize("access", Access)
def test_browser_may_navigate_to_the_page_but_not_to_the_api(access: Access) -> None:
    may = access in (Access.DOCUMENT, Access.OPEN)
    for site in ("none", "same-origin"):
        navigation = asked(sites=(site,), modes=("navigate",), destinations=("document",))
        assert refusal(navigation, access) is (None if may else CROSS_SITE_REFUSED)


@pytest.mark.parametrize("destination", ["iframe", "frame", "embed", "object", "worker", "", None])
def test_page_is_never_put_into_a_frame(destination: str | None) -> None:
    destinations = () if destination is None else (destination,)
    framed = asked(sites=("same-origin",), modes=("navigate",), destinations=destinations)
    assert refusal(framed, Access.DOCUMENT) is CROSS_SITE_REFUSED


def test_link_on_another_page_does_not_open_ours() -> None:
    for site in ("cross-site", "same-site"):
        followed = asked(sites=(site,), modes=("navigate",), destinations=("document",))
        assert refusal(followed, Access.DOCUMENT) is CROSS_SITE_REFUSED


def test_form_is_never_a_navigation_to_us() -> None:
    sent = asked("POST", sites=("same-origin",), modes=("navigate",), destinations=("document",), content_types=JSON)
    assert refusal(sent, Access.DOCUMENT) is CROSS_SITE_REFUSED


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    ("content_types", "expected"),
    [
        (JSON, None),
        (("application/json; charset=utf-8",), None),
        (("Application/JSON",), None),
        ((), CONTENT_TYPE_REFUSED),
        (("text/plain",), CONTENT_TYPE_REFUSED),
        (("text/plain; application/json",), CONTENT_TYPE_REFUSED),
        (("application/x-www-form-urlencoded",), CONTENT_TYPE_REFUSED),
        (("multipart/form-data; boundary=x",), CONTENT_TYPE_REFUSED),
        (("application/jsonp",), CONTENT_TYPE_REFUSED),
        (("application/json", "text/plain"), CONTENT_TYPE_REFUSED),
    ],
)
def test_what_changes_something_must_be_json(
    method: str, content_types: tuple[str, ...], expected: Kind | None
) -> None:
    assert refusal(asked(method, content_types=content_types), Access.CREDENTIAL) is expected


_NOISE = st.lists(st.sampled_from(["", "null", "evil", HOST, ORIGIN, "none", "same-origin", "cross-site"]), max_size=2)


@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE"]),
    hosts=st.lists(st.sampled_from([HOST, "evil", f"localhost:{PORT}"]), max_size=2),
    origins=_NOISE,
    sites=_NOISE,
    modes=st.lists(st.sampled_from(["navigate", "cors", "no-cors", "websocket"]), max_size=2),
    access=st.sampled_from(Access),
)
def test_nothing_passes_that_bears_a_foreign_sign(
    method: str, hosts: list[str], origins: list[str], sites: list[str], modes: list[str], access: Access
) -> None:
    request = Asked(method, "/", PORT, tuple(hosts), tuple(origins), tuple(sites), tuple(modes), ("document",), JSON)
    if refusal(request, access) is None:
        assert len(hosts) == 1
        assert hosts[0] in own_hosts(PORT)
        assert [origin for origin in origins if origin != f"http://{hosts[0]}"] == []
        assert set(sites) <= {"same-origin", "none"}
        if "none" in sites or "navigate" in modes:
            assert (method, modes) == ("GET", ["navigate"])
            assert access in (Access.OPEN, Access.DOCUMENT)
        if request.is_from_own_page:
            assert origins == [f"http://{hosts[0]}"] or sites == ["same-origin"]


def test_own_page_is_believed_only_with_a_sign_of_its_own() -> None:
    for origins, sites in itertools.product([(), (ORIGIN,)], [(), ("same-origin",), ("none",)]):
        assert asked(origins=origins, sites=sites).is_from_own_page is (bool(origins) or sites == ("same-origin",))
