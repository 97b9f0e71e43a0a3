"""The table over all verdicts: what is collected, Markdown, and the page as a browser lays it out."""

import html.parser
import json
import re
import shutil
import subprocess

import pytest

from common import plotting, report

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--virtual-time-budget=10000",
]
LONG = "an_identifier_without_a_single_place_to_break_it_that_is_longer_than_any_phone_is_wide_and_then_some"


def claim(name, status, **changes):
    values = {"value": 0.94, "low": 0.8913, "high": 0.97, "n": 100, "note": ""}
    if status == "incomplete":
        values = {
            "value": None,
            "low": None,
            "high": None,
            "n": None,
            "note": "no finished run gives a value",
        }
    fixed = {"id": name, "text": f"claim {name}", "paper": "0.935 (Figure 3)", "expected": "at least 0.9"}
    return {**fixed, **values, "status": status, **changes}


def verdict(paper, figure, profile, status, claims):
    return {
        "paper": paper,
        "figure": figure,
        "title": f"Title of {figure} <& more>",
        "profile": profile,
        "about": "20 runs per point",
        "command": f"make reproduce-{paper}-{figure}",
        "deeper": f"make reproduce-{paper}-{figure} PROFILE=paper",
        "status": status,
        "claims": claims,
        "seconds": 125.0,
        "provenance": {
            "revision": "0123456789abcdef0123456789abcdef01234567",
            "dirty": True,
            "python": "3.11.7",
            "platform": "Linux x86_64",
            "cores": 2,
            "device": "cpu",
            "packages": {"numpy": "2.4.6", "jax": "0.10.2"},
            "finished": "2026-01-02T03:04:05+00:00",
        },
        "runs": [
            {
                "name": "lola-tabular",
                "seed": seed,
                "address": "0123456789abcdef",
                "status": "finished",
                "seconds": 30.0,
                "command": "python LOLA_exact.py " + "--some_flag_with_a_long_name 0.123456 " * 12,
            }
            for seed in (None, 1)
        ],
    }


@pytest.fixture
def results(tmp_path):
    """Three figures of two papers, all four statuses, two with a picture, one damaged verdict."""
    kinds = {
        ("pola", "fig3", "quick"): (
            "reproduced",
            [claim("a", "reproduced"), claim("b", "reproduced", text=LONG)],
        ),
        ("pola", "fig3", "paper"): ("incomplete", [claim("c", "incomplete", text="pipe | and\nline")]),
        ("pola", "fig1", "smoke"): ("not judged", []),
        ("loqa", "league", "quick"): (
            "not reproduced",
            [claim("d", "not reproduced", note="<b>bold</b>", source="p. 7")],
        ),
    }
    for (paper, figure, profile), (status, claims) in kinds.items():
        folder = tmp_path / paper / figure / profile
        folder.mkdir(parents=True)
        content = verdict(paper, figure, profile, status, claims)
        (folder / "verdict.json").write_text(json.dumps(content), encoding="utf-8")
        if profile == "quick":
            picture, (ax, _) = plotting.new_figure(2)
            plotting.heatmap(ax, [[1.0, 2.0]], ["row"], ["a", "b"], "unit")
            plotting.save(picture, folder)
    damaged = tmp_path / "pola" / "fig5" / "quick"
    damaged.mkdir(parents=True)
    (damaged / "verdict.json").write_text('{"paper": "pola", "fig', encoding="utf-8")
    return tmp_path


def test_collect_finds_all_in_order(results):
    found = report.collect(results)
    assert [(v["paper"], v["figure"], v["profile"], v["status"]) for v in found] == [
        ("loqa", "league", "quick", "not reproduced"),
        ("pola", "fig1", "smoke", "not judged"),
        ("pola", "fig3", "paper", "incomplete"),
        ("pola", "fig3", "quick", "reproduced"),
        ("pola", "fig5", "quick", "incomplete"),
    ]
    assert (
        "damaged" in found[-1]["about"] and found[-1]["command"] == "make reproduce-pola-fig5 PROFILE=quick"
    )
    assert report.collect(results / "nothing") == []


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"status": "great", "claims": []}', '{"status": "reproduced"}', "\xff"]
)
def test_a_verdict_that_is_none_counts_as_incomplete(tmp_path, content):
    folder = tmp_path / "pola" / "fig3" / "quick"
    folder.mkdir(parents=True)
    (folder / "verdict.json").write_bytes(content.encode("latin-1"))
    (found,) = report.collect(tmp_path)
    assert found["status"] == "incomplete" and "damaged" in found["about"]
    assert "incomplete" in report.markdown([found]) and "incomplete" in report.html([found])


def markdown_cells(text):
    """The cells of every table row, by the rules of Markdown (a bar behind a backslash is text)."""
    rows = [line for line in text.splitlines() if line]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def test_markdown_has_every_figure_and_claim_in_aligned_columns(results):
    text = report.markdown(report.collect(results))
    figures, claims = (markdown_cells(part) for part in text.split("\n\n"))
    assert [len(row) for row in figures] == [5] * 7 and [len(row) for row in claims] == [6] * 6
    assert figures[5] == [
        "pola fig3 (quick)",
        "✔ reproduced",
        "2 of 2",
        "2 min",
        "make reproduce-pola-fig3 PROFILE=paper",
    ]
    assert claims[2][1:] == [
        "claim d", "0.935 (Figure 3); p. 7", "at least 0.9", "0.94 (0.8913 to 0.97, n = 100)", "✘ not reproduced",
    ]  # fmt: skip
    assert claims[3][1] == r"pipe \| and line" and claims[3][4] == "no value yet"
    for part in text.split("\n\n"):
        assert len({len(line) for line in part.splitlines()}) == 1
    assert "\n\n" not in report.markdown([{**report.collect(results)[1]}]), "no claims, no second table"


class Page(html.parser.HTMLParser):
    """Checks that tags nest and gathers what a page would load."""

    VOID = {"meta", "img", "br", "link", "input", "hr"}

    def __init__(self, text):
        super().__init__()
        self.open, self.loads, self.tags, self.words = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loads += [value for name, value in attrs if name in ("src", "href", "srcset", "data", "poster")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_the_page_needs_nothing_else_and_escapes_everything(results):
    text = report.write(results).read_text("utf-8")
    page = Page(text)
    words, plain = " ".join(page.words), re.sub(r'base64,[^"]*', "", text)
    assert {load.split(",")[0] if load.startswith("data:") else load[0] for load in page.loads} == {
        "data:image/png;base64", "#",
    }  # fmt: skip
    assert "script" not in page.tags and not re.search(r"@import|url\(|http", plain)
    for needed in (
        "<b>bold</b>",
        "Title of fig3 <& more>",
        "0.94 (0.8913 to 0.97, n = 100)",
        "no value yet",
        "p. 7",
    ):
        assert needed in words
    for needed in (
        "make reproduce-pola-fig3 PROFILE=paper",
        "0123456789abcdef01234567",
        "with uncommitted changes",
    ):
        assert needed in words
    for status, symbol in report.SYMBOLS.items():
        assert f"{symbol} {status}" in words
    targets = set(re.findall(r'<section id="([^"]+)"', text))
    assert {load[1:] for load in page.loads if load[0] == "#"} == targets and len(targets) == 5


def test_writing_is_repeatable_and_leaves_only_the_page(results):
    first = report.write(results)
    content = first.read_bytes()
    assert report.write(results).read_bytes() == content
    assert [path.name for path in results.iterdir() if path.is_file()] == ["index.html"]


MEASURE = """
const out = {};
for (const frame of document.querySelectorAll("iframe")) {
  const page = frame.contentDocument, width = frame.contentWindow.innerWidth;
  page.querySelectorAll("details").forEach(details => details.open = true);
  const shown = [...page.body.querySelectorAll("*")].filter(e => e.getClientRects().length);
  const wide = shown.filter(e => { const box = e.getBoundingClientRect();
    return box.left < -0.5 || box.right > width + 0.5 || e.scrollWidth > e.clientWidth + 1 && e.clientWidth; });
  const boxes = (parent, kind) => [...parent.querySelectorAll(kind)].map(e => e.getBoundingClientRect());
  const overlap = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;
  const clashes = list => list.some((a, i) => list.slice(i + 1).some(b => overlap(a, b)));
  out[frame.id] = {
    width, scroll: page.documentElement.scrollWidth, wide: wide.map(e => e.tagName + ": " + e.textContent.slice(0, 60)),
    clashes: [...page.querySelectorAll("table")].filter(t => clashes(boxes(t, "tbody tr")) || clashes(boxes(t, "td"))).length,
    flat: boxes(page, "tr td").filter(box => box.height < 10 || box.width < 10).length,
    narrowest: Math.min(...boxes(page, "tr td").map(box => box.width)) / width,
    images: [...page.images].map(i => [i.complete && i.naturalWidth > 0, i.alt, i.getBoundingClientRect().width]),
    claims: [...page.querySelectorAll("table.claims tbody tr")].map(r => r.cells[0].firstChild.textContent),
  };
}
document.getElementById("out").textContent = JSON.stringify(out);
"""


def lay_out(pages, folder):
    """Open every page in a frame of its width (a window can't be as narrow as a phone) and measure it."""
    frames = "".join(
        f'<iframe id="{name}" style="width:{width}px;height:900px;border:0" srcdoc="{html.escape(page)}"></iframe>'
        for name, (width, page) in pages.items()
    )
    harness = folder / "harness.html"
    script = f"<script>window.onload = () => {{{MEASURE}}}</script>"
    harness.write_text(
        f'<!doctype html><meta charset="utf-8">{frames}<pre id="out"></pre>{script}', encoding="utf-8"
    )
    command = [BROWSER, *FLAGS, f"--user-data-dir={folder / 'profile'}", "--dump-dom", harness.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'<pre id="out">(.+?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr[-2000:]
    return json.loads(html.unescape(found[1]))


@pytest.mark.browser
@pytest.mark.skipif(BROWSER is None, reason="no Chromium installed")
def test_the_page_in_a_browser(results, tmp_path_factory):
    text = report.html(report.collect(results))
    broken = text.replace(
        "</main>", '<p style="width:2000px">wide</p><img src="data:image/png;base64,x"></main>'
    )
    broken = broken.replace("</style>", ".claims tr { position: absolute; top: 0 }</style>")
    pages = {"desktop": (1280, text), "phone": (390, text), "small": (360, text), "broken": (390, broken)}
    measured = lay_out(pages, tmp_path_factory.mktemp("browser"))
    for name in ("desktop", "phone", "small"):
        seen = measured[name]
        assert seen["width"] == pages[name][0] == seen["scroll"], name
        assert seen["wide"] == [] and seen["clashes"] == 0 and seen["flat"] == 0, name
        assert seen["narrowest"] > (0.8 if seen["width"] < 400 else 0.03), "cards use the whole phone"
        assert [loaded for loaded, _, _ in seen["images"]] == [True, True]
        assert all("profile: Title of" in alt for _, alt, _ in seen["images"])
        assert seen["images"][0][2] > 0.8 * min(pages[name][0], 1000)
        assert seen["claims"] == ["claim d", "pipe | and\nline", "claim a", LONG]
    seen = measured["broken"]
    assert seen["wide"] and seen["clashes"] and not seen["images"][-1][0], (
        "the measurement must see a broken page"
    )
