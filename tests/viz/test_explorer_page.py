"""The explorer's page in a real browser, headless, from a file on disk."""

import base64
import json
import re
import shutil

import numpy as np
import pytest

import tinygrad_seq as ts
from tinygrad_seq import nn, viz
from tinygrad_seq.viz.fold import amount

selenium = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.chrome.service import Service  # noqa: E402  # after the skip
from selenium.webdriver.common.keys import Keys  # noqa: E402

OPTIONS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --window-size=1440,900 "
    "--force-prefers-reduced-motion"
)
AROUND = 7
"""Operations of the model below that are in no cell: stack, read and the loss."""
EVIL = "</script><img src=x onerror=document.title='stolen'>"


class Page:
    """A page in the browser, and what the tests do to it."""

    def __init__(self, driver, path, dark=False):
        self.driver = driver
        self.graph = path
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
        driver.get(path.as_uri())

    def js(self, code, *arguments):
        return self.driver.execute_script(code, *arguments)

    def click(self, selector):
        self.js(
            "document.querySelector(arguments[0]).dispatchEvent("
            "new MouseEvent('click', {bubbles: true}))",
            selector,
        )

    def count(self, selector):
        return self.js("return document.querySelectorAll(arguments[0]).length", selector)

    def text(self, selector):
        return self.js("return document.querySelector(arguments[0]).textContent", selector)

    def press(self, *keys):
        self.driver.switch_to.active_element.send_keys(*keys)

    def focused(self, attribute):
        return self.driver.switch_to.active_element.get_attribute(attribute)

    def numbers(self, selector):
        """The numbers in the cells of the first heat map inside."""
        code = """return [...document.querySelector(arguments[0] + ' table:not(.sum)')
            .querySelectorAll('td')].map((cell) => cell.dataset.value)"""
        return np.array([float(text) for text in self.js(code, selector)])

    def complaints(self):
        return [entry["message"] for entry in self.driver.get_log("browser")]


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    browser, service = shutil.which("chromium"), shutil.which("chromedriver")
    if not browser or not service:
        pytest.skip("chromium and chromedriver are not installed")
    options = selenium.ChromeOptions()
    options.binary_location = browser
    for option in OPTIONS.split():
        options.add_argument(option)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('browser')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    made = selenium.Chrome(options=options, service=Service(service))
    yield made
    made.quit()


class Read(nn.Module):
    """Three operations, which the page shows as one box."""

    def __init__(self):
        self.weight = nn.Parameter(ts.randn(2, 4))

    def forward(self, h):
        return ts.tanh(h @ self.weight.T)


class Tagger(nn.Module):
    def __init__(self):
        self.gru, self.read = nn.GRU(3, 4), Read()

    def forward(self, x):
        return self.read(self.gru(x)[0])


@pytest.fixture(scope="module")
def gru(tmp_path_factory):
    """A GRU over six steps: the model after its backward, its page, and its operations."""
    ts.manual_seed(0)
    model = Tagger()
    with viz.trace(model), nn.unrolled():
        loss = nn.mse_loss(model(ts.randn(6, 1, 3)), ts.randn(6, 1, 2))
    count = len(viz.graph(loss).operations)
    path = viz.explore(loss, tmp_path_factory.mktemp("gru") / "graph.html", check=True)
    loss.backward()
    return model, path, count


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """An LSTM of more than 2 000 operations."""
    lstm = nn.LSTM(4, 8, num_layers=2)
    with viz.trace(lstm), nn.unrolled():
        loss = (lstm(ts.randn(84, 2, 4))[0] ** 2).mean()
    assert len(viz.graph(loss).operations) > 2000
    return viz.explore(loss, tmp_path_factory.mktemp("large") / "large.html")


@pytest.fixture
def page(driver, gru):
    made = Page(driver, gru[1])
    yield made
    assert made.complaints() == []


def test_it_opens_as_a_picture_of_time_and_depth(page):
    assert "loss" in page.text("#summary")
    cells = page.js(
        """return [...document.querySelectorAll('.box')].filter((b) => /@/.test(b.dataset.box))
        .map((b) => { const r = b.getBoundingClientRect(); return [b.dataset.box, r.x, r.y] })"""
    )
    assert len(cells) == 6
    assert [c[1] for c in cells] == sorted(c[1] for c in cells)  # time to the right
    assert len({c[2] for c in cells}) == 1
    heights = page.js(
        """return ['top level', 'read', 'gru.l0'].map((name) =>
        Math.min(...[...document.querySelectorAll('.box')]
          .filter((b) => b.getAttribute('aria-label').startsWith(name))
          .map((b) => b.getBoundingClientRect().y)))"""
    )
    assert heights == sorted(heights)  # depth upwards: the loss is on top


def test_a_cell_unfolds_and_folds(page, gru):
    cell = "[data-box$='@2']"
    assert page.count(".op") == 1  # the single operation: stack
    page.click(cell)
    page.click("[data-zoom=fit]")  # what is out of sight is not in the document
    each, rest = divmod(gru[2] - AROUND, 6)
    assert rest == 0
    assert page.count(".op") == 1 + each
    assert (
        page.js(f"return document.querySelector({cell!r}).getAttribute('aria-expanded')") == "true"
    )
    assert "unfolded" in page.text("#live")
    page.click(cell)
    assert page.count(".op") == 1


def test_time_rolls_into_one_cell_with_a_slider(page, gru):
    page.click("[data-fold=rolled]")
    assert page.count("[data-box$='@roll']") == 1
    before = set(page.js("return [...document.querySelectorAll('.op')].map((o) => o.dataset.id)"))
    page.js(
        "const s = document.getElementById('step'); s.value = 1;"
        "s.dispatchEvent(new Event('input', {bubbles: true}))"
    )
    after = set(page.js("return [...document.querySelectorAll('.op')].map((o) => o.dataset.id)"))
    assert page.text("#step-now") == "t = 1"
    assert len(after) == len(before)
    assert len(after & before) == 1  # stack stays
    page.click("[data-fold=time]")
    assert page.count("[data-box^='time@']") == 6
    page.click("[data-fold=all]")
    page.click("[data-zoom=fit]")
    assert page.count(".op") == gru[2]


def test_the_gradient_of_a_shared_weight_is_the_sum_of_its_parts(page, gru):
    weight = gru[0].gru.weight_hh_l0
    page.click("#rail [data-leaf]:nth-of-type(3)")
    assert page.text("#panel h3") == "gru.weight_hh_l0"
    total = np.zeros(weight.shape)
    norms = {}
    for t in range(6):
        page.click(f"[data-step='{t}'] button")
        numbers = page.numbers("#panel .array").reshape(weight.shape)
        norms[t] = np.linalg.norm(numbers)
        total += numbers
    np.testing.assert_allclose(total, weight.grad.data, rtol=1e-4, atol=1e-7)
    assert int(page.js("return document.querySelector('#parts .top').dataset.step")) == max(
        norms, key=norms.get
    )
    assert page.count(".box.lit") == 6  # the cells


def test_it_walks_to_the_end_and_shows_the_tensors_numbers(page, gru):
    data = json.loads(page.text("#data"))
    count = len(data["operations"])
    compared = 0
    page.click("#first")
    assert f"Forward 1 of {count}" in page.text("#live")
    for position in range(2 * count - 1):
        page.click("#forth")
        if position % 13 == 0:
            at = min(position + 1, 2 * count - 2 - position)
            operation = data["operations"][at]
            forward = position + 1 < count
            _, source, slot, *_ = operation["inputs"][0]
            if forward and source is None:
                continue
            owner = (
                next((leaf for leaf in data["leaves"] if leaf["id"] == source), None)
                or (data["operations"][source])
            )
            values = owner["values"][slot or 0]
            number = values if forward else operation["gradients"][0]
            if number is None:  # of a constant
                continue
            stored = data["arrays"][number]
            place = f"#panel [data-array='{number}']"
            assert page.count(place) > 0
            if page.count(f"{place} td"):  # else a picture
                raw = base64.b64decode(stored["data"])
                expected = np.frombuffer(raw, f"<{stored['kind']}")
                np.testing.assert_array_equal(page.numbers(place), expected)
                compared += 1
    assert f"Backward {count} of {count}" in page.text("#live")
    assert "forward" not in page.text("#where")
    assert compared > 5


def test_rules_contributions_memory_and_checks_are_shown(page):
    page.click("#last")
    page.js("document.getElementById('search').value = 'subtract'")
    page.js("document.getElementById('search').dispatchEvent(new Event('input'))")
    page.click("#found button")
    panel = page.text("#panel")
    assert "b̄ = −ȳ" in panel
    assert re.search(r"contribution \d of \d", panel)
    assert re.search(r"Alive now: \d+ arrays, \d+ B", panel)
    assert float(page.js("return document.querySelector('[data-check]').dataset.check")) < 1e-5
    assert page.count(".hit") > 0
    assert "peak" in page.text("#strips")


def test_play_stops_at_a_breakpoint(page, driver, gru):
    page.click("#first")
    for _ in range(2):
        page.click("#forth")
    page.click("#stop")
    assert page.js("return document.querySelector('#stop').getAttribute('aria-pressed')") == "true"
    page.click("#first")
    # Timers are given a pace of their own, so that nothing waits.
    driver.execute_async_script(
        """const done = arguments[0]; const slow = window.setInterval;
        window.setInterval = (f) => slow(f, 1);
        const button = document.getElementById('play');
        button.click();
        const look = slow(() => { if (button.textContent.includes('play')) {
          clearInterval(look); window.setInterval = slow; done(); } }, 2);"""
    )
    assert f"Stopped at the breakpoint. Forward 3 of {gru[2]}" in page.text("#live")


def test_the_keyboard_alone_suffices(page):
    seen = []
    for _ in range(24):
        page.press(Keys.TAB)
        seen.append(page.focused("id") or page.focused("data-fold") or page.focused("data-box"))
        if page.focused("data-box"):
            break
    assert {"modules", "search", "help", "theme"} <= set(seen)
    outline = page.js("return getComputedStyle(document.activeElement.firstChild).strokeWidth")
    assert outline == "3px"
    for _ in range(4):
        if "@" not in (page.focused("data-box") or ""):
            page.press(Keys.ARROW_UP)
    page.press(Keys.ARROW_RIGHT)
    chosen = page.focused("data-box")
    assert chosen.endswith(tuple(f"@{t}" for t in range(1, 6)))
    page.press(Keys.ENTER)
    assert page.focused("aria-expanded") == "true"
    page.press(Keys.ARROW_UP)
    page.press(Keys.ARROW_DOWN)
    page.press(".")
    first = page.text("#where")
    page.press(".")
    assert page.text("#where") != first
    page.press(",")
    assert page.text("#where") == first
    page.press("b")
    assert page.text("#live") == "Breakpoint set."
    page.press("?")
    assert page.js("return document.getElementById('guide').hidden") is False
    page.press("/")
    assert page.focused("id") == "search"
    page.press("t=3", Keys.ARROW_DOWN)
    page.press(Keys.ENTER)
    assert "t = 3" in page.text("#panel")


@pytest.mark.parametrize("dark", [False, True])
def test_every_text_has_contrast(driver, gru, dark):
    page = Page(driver, gru[1], dark)
    page.click("#help")
    page.click("#forth")
    low = page.js(
        """
        const parse = (text) => (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
        const light = (rgb) => { const [r, g, b] = rgb.map((c) => (c /= 255) <= 0.03928 ? c / 12.92
          : ((c + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
        const behind = (node) => { for (let e = node; e; e = e.parentElement) {
          const c = parse(getComputedStyle(e).backgroundColor);
          const frame = e.matches('g.box, g.op') && e.querySelector('.frame');
          const fill = frame ? getComputedStyle(frame).fill : 'none';
          if (fill !== 'none') return parse(fill);
          if (c.length === 3 || c[3] === 1) return c; } return [255, 255, 255]; };
        const low = [];
        for (const e of document.querySelectorAll('body *')) {
          if (![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
          if (e.matches('script, style, option') || !e.getClientRects().length) continue;
          const style = getComputedStyle(e);
          const ink = e.namespaceURI.endsWith('svg') ? style.fill : style.color;
          const a = light(parse(ink).slice(0, 3));
          const b = light(behind(e).slice(0, 3));
          const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
          if (ratio < 4.5) low.push(`${e.tagName} ${e.textContent.slice(0, 30)}: ${ratio}`);
        }
        return low;
        """
    )
    assert low == []
    theme = page.js("return document.documentElement.dataset.theme")
    assert theme == ("dark" if dark else "light")
    page.click("#theme")
    assert page.js("return document.documentElement.dataset.theme") != theme


def test_everything_has_a_name_for_screen_readers(page):
    page.click("[data-fold=all]")
    nameless = page.js(
        """return [...document.querySelectorAll('button, input, select, canvas, [role=button]')]
        .filter((e) => !(e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.length))
        .map((e) => e.outerHTML.slice(0, 80))"""
    )
    assert nameless == []
    assert page.js("return document.getElementById('live').getAttribute('aria-live')") == "polite"


def test_a_large_graph_opens_and_answers_fast(driver, large):
    opened, answered = [], []
    for _ in range(4):
        page = Page(driver, large)
        opened.append(
            page.js("return performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd")
        )
        for selector in ("[data-box$='@3']", "#forth", "#rail button", "[data-fold=all]"):
            answered.append(
                (
                    selector,
                    page.js(
                        """const start = performance.now();
                document.querySelector(arguments[0]).dispatchEvent(
                  new MouseEvent('click', {bubbles: true}));
                document.body.getBoundingClientRect();
                return performance.now() - start""",
                        selector,
                    ),
                )
            )
    assert page.complaints() == []
    assert min(opened) < 2000
    for selector in dict(answered):
        assert min(time for name, time in answered if name == selector) < 200, selector


def test_only_what_is_in_view_is_drawn(driver, large):
    page = Page(driver, large)
    page.click("[data-fold=all]")
    page.js("for (let k = 0; k < 12; k++) document.querySelector('[data-zoom=in]').click()")
    assert 0 < page.count(".op") < 700


def test_hostile_names_do_no_harm(driver, tmp_path):
    x = ts.tensor([0.1, 1.0], requires_grad=True, name=EVIL, dtype="float64")
    with viz.trace():
        loss = (x * x).sum()
    page = Page(driver, viz.explore(loss, tmp_path / "evil.html", title=EVIL))
    assert page.text("#title") == EVIL
    assert page.count("img") == 0
    assert "stolen" not in page.driver.title.split("onerror")[0]
    assert EVIL in page.text("#rail")
    page.click("#rail [data-leaf]")
    np.testing.assert_array_equal(page.numbers("#panel .array"), [0.2, 2.0])
    assert page.complaints() == []


@pytest.mark.filterwarnings("ignore")
def test_nan_infinities_and_zero_gradients_are_found(driver, tmp_path):
    x = ts.tensor([0.0, -1.0, 4.0], requires_grad=True, name="x")
    with viz.trace():
        loss = ts.sqrt(x).sum() + (ts.exp(x) * 0.0).sum()
    page = Page(driver, viz.explore(loss, tmp_path / "graph.html"))
    for query, least in (("nan", 2), ("inf", 2), ("zero", 1), ("sqrt", 1)):
        page.js("document.getElementById('search').value = arguments[0]", query)
        page.js("document.getElementById('search').dispatchEvent(new Event('input'))")
        assert page.count("#found button") >= least
    page.click("#rail [data-leaf]")
    assert "1 NaN" in page.text("#panel")
    assert "1 infinite" in page.text("#panel")
    assert page.complaints() == []


OVERLAPS = """const seen = [...document.querySelectorAll('#world text, #strips text')]
    .map((text) => [text.textContent, text.getBoundingClientRect()])
    .filter(([, box]) => box.width && box.height);
const bad = [];
seen.forEach(([one, a], k) => seen.slice(k + 1).forEach(([other, b]) => {
    const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (wide > 2 && high > 3) bad.push(`${one} | ${other}`);
}));
return bad;"""
OUTSIDE = """return [...document.querySelectorAll('header > *, footer *, #rail *, #panel *')]
    .filter((one) => one.getBoundingClientRect().width)
    .filter((one) => one.getBoundingClientRect().right - 1 >
        one.closest('header, footer, #rail, #panel').getBoundingClientRect().right)
    .map((one) => one.outerHTML.slice(0, 80));"""


def both_ways():
    lstm = nn.LSTM(3, 4, num_layers=3, bidirectional=True, dropout=0.3)
    with viz.trace(nn.Sequential(lstm)), nn.unrolled():
        return (lstm(ts.randn(5, 2, 3))[0] ** 2).mean()


def untraced():
    x = ts.tensor(2.0, requires_grad=True, name="a_very_long_name" * 700)
    return ts.tanh(x * 3) * x


@pytest.mark.parametrize("make", [both_ways, untraced])
@pytest.mark.parametrize("size", [(1440, 900), (900, 700)])
def test_nothing_overlaps_or_is_cut_off(driver, tmp_path, make, size):
    driver.set_window_size(*size)
    page = Page(driver, viz.explore(make(), tmp_path / f"{'long ' * 30}.html"))
    assert page.js(OVERLAPS) == []
    assert page.js(OUTSIDE) == []
    assert page.js("return document.documentElement.scrollWidth <= innerWidth")
    assert page.js("return Math.max(...[...rail.children].map((one) => one.offsetHeight))") < 240
    driver.set_window_size(1440, 900)
    assert page.complaints() == []


def test_a_narrow_page_shows_its_finite_differences_whole(page, driver):
    driver.set_window_size(900, 700)
    try:
        page.click("#last")
        assert page.count(".check") == 1
        assert page.js(OUTSIDE) == []
    finally:
        driver.set_window_size(1440, 900)


def test_it_leads_to_the_first_nan_of_each_direction(driver, tmp_path):
    w = nn.Parameter(np.array([[-1.0, 2.0], [0.5, 1.0]]))
    h = ts.tensor([[1.0, -1.0]], dtype="float64")
    with viz.trace(), np.errstate(all="ignore"):
        for t in range(4):
            with viz.at_step(t):
                h = ts.log(h @ w)
        loss = h.sum()
    page = Page(driver, viz.explore(loss, tmp_path / "nan.html"))
    assert "parts are not finite" in page.text("#panel")
    assert "not finite at t = 0" in page.text("#strips")
    page.click("[data-trouble=value]")
    assert page.text("#panel h3") == "log #1"
    assert page.text("#panel p").startswith("Forward")
    page.click("[data-trouble=gradient]")
    assert page.text("#panel p").startswith("Backward")
    assert page.complaints() == []


def test_bytes_are_written_as_in_a_listing(driver, tmp_path):
    x = ts.randn(50, 50, requires_grad=True)
    with viz.trace():
        loss = (ts.exp(x) * ts.tanh(x)).sum()
    page = Page(driver, viz.explore(loss, tmp_path / "bytes.html"))
    kept = viz.graph(loss).alive()[-1]
    assert page.text("#bytes-now") == f"now {amount(kept)} + 0 B"
    assert f", {amount(kept)} kept" in viz.listing(loss)
    assert page.complaints() == []


def test_scalars_say_their_value_and_gradient(driver, tmp_path):
    a, b = (ts.tensor(x, requires_grad=True, name=n) for x, n in ((2.0, "a"), (-3.0, "b")))
    with viz.trace():
        loss = (a * b + 10.0) ** 2
    page = Page(driver, viz.explore(loss, tmp_path / "scalar.html"))
    said = page.js("return [...document.querySelectorAll('.op text')].map((t) => t.textContent)")
    assert set(said) == {
        *("a = 2, ∂ −24", "b = −3, ∂ 16", "multiply = −6, ∂ 8", "add = 4, ∂ 8", "power = 16, ∂ 1")
    }
    assert page.js(OVERLAPS) == []
    assert "scalar" in page.text(".op title")
    assert page.complaints() == []


def test_a_part_from_outside_of_time_is_told_from_those_of_the_steps(driver, tmp_path):
    gru = nn.GRU(2, 3)
    with viz.trace(gru), nn.unrolled():
        loss = (gru(ts.randn(3, 1, 2))[0] ** 2).mean() + (gru.weight_hh_l0**2).sum()
    page = Page(driver, viz.explore(loss, tmp_path / "decay.html"))
    assert page.count("#parts [data-step]") == 4
    assert "sum of 4 parts, one for each step that used it, and one from outside" in page.text(
        "#panel"
    )
    assert page.complaints() == []


def test_a_graph_of_finite_numbers_has_no_trouble(page):
    assert page.count("[data-trouble]") == 0
