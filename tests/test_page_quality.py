"""What must hold on every page: accessible, light, silent, at home with its CSP, and there without a network."""

from __future__ import annotations

import gzip
import json
import re
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from hand import PATIENCE_MS, answer, draw, opened

from tests.conftest import ROOT

PAGES = ("/", "/about", "/docs")
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
WEIGHT_BYTES = 200 * 1024


@pytest.fixture(params=PAGES)
def path(request: pytest.FixtureRequest, site: str) -> str:
    return str(request.param)


@pytest.fixture(params=["light", "dark"])
def page(request: pytest.FixtureRequest, chromium: Any, site: str) -> Iterator[Any]:
    page = opened(chromium, site, theme=request.param, bypass_csp=True)
    yield page
    page.context.close()


@pytest.mark.skipif(not AXE.exists(), reason="needs axe-core (npm installs it)")
def test_axe_finds_nothing(page: Any, site: str, path: str) -> None:
    page.goto(site + path)
    if path == "/":
        draw(page, 4)
        answer(page)
        page.wait_for_timeout(500)  # colours in motion have no contrast of their own
    page.add_script_tag(path=AXE)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    assert [(one["id"], [node["target"] for node in one["nodes"]]) for one in found] == []


def test_pages_are_silent_light_and_keep_to_their_origin(chromium: Any, site: str, path: str) -> None:
    context = chromium.new_context()
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    received: list[float] = []
    session.on("Network.loadingFinished", lambda event: received.append(event["encodedDataLength"]))
    page.goto(site + path)
    page.wait_for_load_state("networkidle")
    if path == "/":
        draw(page, 3)
        answer(page)
    weight = sum(received)
    context.close()
    assert said == []
    assert [url for url in asked if not url.startswith((site, "data:"))] == []
    assert 0 < weight < WEIGHT_BYTES


def test_csp_allows_nothing_inline(site: str, path: str) -> None:
    with urllib.request.urlopen(site + path) as response:
        policy, html = response.headers["Content-Security-Policy"], response.read().decode()
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert not re.search(r"<script(?![^>]* src=)|<style| style=| on[a-z]+=", html)


def test_files_are_compressed_and_cached_for_good(site: str) -> None:
    with urllib.request.urlopen(site) as response:
        addresses = set(re.findall(r'"(/assets/[^"]+)"', response.read().decode()))
    assert len(addresses) > 10
    for address in addresses:
        request = urllib.request.Request(site + address, headers={"Accept-Encoding": "gzip"})
        with urllib.request.urlopen(request) as response:
            body, headers = response.read(), response.headers
        assert "immutable" in headers["Cache-Control"]
        if address.endswith((".css", ".js")) and len(body) > 512:
            assert headers["Content-Encoding"] == "gzip"
            assert gzip.decompress(body)
        again = urllib.request.Request(site + address, headers={"Accept-Encoding": "gzip", "If-None-Match": headers["ETag"]})
        with pytest.raises(urllib.error.HTTPError, match="304"):
            urllib.request.urlopen(again)
        plain = urllib.request.Request(site + address, headers={"If-None-Match": headers["ETag"]})
        if headers["Content-Encoding"]:  # other bytes, so not the same
            with urllib.request.urlopen(plain) as response:
                assert response.read() == gzip.decompress(body)


@pytest.mark.parametrize("address", ["/assets/x/../pages.py", "/assets/x/%2e%2e/pages.py", "/assets/x/nothing.js", "/assets/x/"])
def test_no_other_file_is_served(site: str, address: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(site + address)


def test_theme_follows_the_system_until_it_is_switched(chromium: Any, site: str) -> None:
    page = opened(chromium, site, theme="dark")

    def shows(theme: str) -> None:
        page.wait_for_selector(f"html[data-bs-theme={theme}]", timeout=PATIENCE_MS)

    shows("dark")
    page.emulate_media(color_scheme="light")
    shows("light")
    page.locator("#theme").click()
    shows("dark")
    assert page.locator("#theme").get_attribute("aria-pressed") == "true"
    page.reload()
    shows("dark")
    page.locator("#theme").click()
    shows("light")
    page.emulate_media(color_scheme="dark")  # back in step with the system: it is followed again
    shows("dark")
    page.context.close()


def test_reduced_motion_is_respected(chromium: Any, site: str) -> None:
    duration = "parseFloat(getComputedStyle(document.querySelector('#bars .track'), '::before').transitionDuration)"
    for wish, still in (("reduce", True), ("no-preference", False)):
        page = opened(chromium, site, reduced_motion=wish)
        assert (page.evaluate(duration) < 0.001) is still
        page.context.close()


def test_focus_is_visible_on_every_control(chromium: Any, site: str) -> None:
    page = opened(chromium, site, reduced_motion="reduce")
    shown = """() => {
      const e = document.activeElement;
      const near = [e, e.closest('label'), e.nextElementSibling, e.closest('.sheet')].filter(Boolean);
      return near.some(one => getComputedStyle(one).outlineStyle !== 'none' && parseFloat(getComputedStyle(one).outlineWidth) >= 2
        || one.matches('.sheet') && getComputedStyle(one).boxShadow.includes('3px'));
    }"""
    for _ in range(35):
        page.keyboard.press("Tab")
        page.wait_for_timeout(30)
        if not page.evaluate("document.activeElement === document.body"):
            assert page.evaluate(shown), page.evaluate("document.activeElement.outerHTML.slice(0, 120)")
    page.context.close()


def test_page_can_be_installed_and_opens_without_a_network(chromium: Any, site: str) -> None:
    with urllib.request.urlopen(f"{site}/manifest.webmanifest") as response:
        manifest = json.load(response)
    assert {icon["sizes"] for icon in manifest["icons"]} >= {"192x192", "512x512"}
    for icon in manifest["icons"]:
        with urllib.request.urlopen(site + icon["src"]) as response:
            assert response.headers["Content-Type"].startswith(icon["type"])
    page = opened(chromium, site, service_workers="allow")
    page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    page.wait_for_function("async () => (await navigator.serviceWorker.ready).active.state === 'activated'", timeout=PATIENCE_MS)
    for path in ("/api/model", "/about", "/"):
        page.goto(site + path)
    kept = page.evaluate(
        "async () => (await (await caches.open((await caches.keys())[0])).keys()).map(one => new URL(one.url).pathname)"
    )
    assert "/about" in kept
    assert "/api/model" not in kept, "programs' addresses are not for later"
    assert sum(path.startswith("/assets/") for path in kept) > 5
    page.context.set_offline(True)
    page.goto(f"{site}/docs")
    assert page.locator("h1").inner_text() == "For programs", "kept though nobody has been there"
    page.goto(f"{site}/about")
    assert page.locator("h1").inner_text() == "About the model"
    page.goto(site)
    assert page.locator("#offline").is_visible()
    draw(page, 1)
    page.wait_for_selector("#answer[data-mood=away]", timeout=PATIENCE_MS)
    page.context.set_offline(False)
    assert answer(page) == "1"
    page.context.close()


@pytest.mark.parametrize("size_px", [20, 24, 32])
@pytest.mark.parametrize("width", [320, 360])
def test_large_type_has_room_on_a_small_screen(chromium: Any, site: str, path: str, width: int, size_px: int) -> None:
    page = opened(chromium, site, viewport={"width": width, "height": 740})
    page.context.new_cdp_session(page).send("Page.setFontSizes", {"fontSizes": {"standard": size_px}})
    page.goto(site + path)
    assert page.evaluate("getComputedStyle(document.documentElement).fontSize") == f"{size_px}px"
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.context.close()


@pytest.mark.parametrize(
    ("width", "size_px"), [(320, 16), (320, 20), (320, 24), (320, 32), (360, 20), (360, 24), (480, 24), (480, 32), (1024, 16)]
)
def test_the_notice_of_no_network_moves_and_covers_nothing(chromium: Any, site: str, width: int, size_px: int) -> None:
    page = opened(chromium, site, viewport={"width": width, "height": 740})
    page.context.new_cdp_session(page).send("Page.setFontSizes", {"fontSizes": {"standard": size_px}})
    page.goto(f"{site}/about")
    boxes = """() => ['.brand', '.nav-item', '.nav-item + .nav-item', '#theme', 'main', '#offline'].map(one => {
      const { x, y, right, bottom } = document.querySelector(one).getBoundingClientRect();
      return [x, y, right, bottom];
    })"""
    *before, _ = page.evaluate(boxes)
    page.context.set_offline(True)
    page.wait_for_selector("#offline", timeout=PATIENCE_MS)
    *after, (left, top, right, bottom) = page.evaluate(boxes)
    assert after == before
    assert 0 <= left < right <= width
    covered = [box for box in after[1:] if box[0] < right and left < box[2] and box[1] < bottom and top < box[3]]
    assert covered == [], "but for the brand's lowest pixels, which hold no letter"
    page.context.close()


def test_people_who_mistype_an_address_get_a_page_and_programs_a_problem(site: str) -> None:
    browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    for path, accept, kind in (
        ("/abuot", browser, "text/html"),
        ("/abuot", "*/*", "application/problem+json"),
        ("/abuot", "application/json, text/html", "application/problem+json"),
        ("/api/nothing", browser, "application/problem+json"),
    ):
        with pytest.raises(urllib.error.HTTPError, match="404") as refused:
            urllib.request.urlopen(urllib.request.Request(site + path, headers={"Accept": accept}))
        assert refused.value.headers.get_content_type() == kind
        assert ('href="/"' in refused.value.read().decode()) is (kind == "text/html")
    for path in ("/about", "/docs"):
        with urllib.request.urlopen(f"{site}{path}/") as response:
            assert response.url == site + path


def test_about_page_shows_the_cards_own_figures(site: str) -> None:
    with urllib.request.urlopen(f"{site}/api/model") as response:
        card = json.load(response)["card"]
    with urllib.request.urlopen(f"{site}/about") as response:
        html = response.read().decode()
    assert f"{100 * card['figures']['mnist_test']:.2f} %" in html
    assert card["fingerprint"] in html
    assert "28×28×32" in html
    diagonal = [str(row[digit]) for digit, row in enumerate(card["figures"]["confusion"])]
    assert re.findall(r'<td class="right">(\d+)</td>', html) == diagonal
