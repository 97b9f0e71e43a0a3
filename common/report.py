"""One table over whatever has been run: Markdown for the terminal, and a page that needs nothing but itself."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from common.checkpoints import write_atomically
from common.progress import duration
from common.verdicts import INCOMPLETE, NOT_JUDGED, NOT_REPRODUCED, REPRODUCED

SYMBOLS = {REPRODUCED: "✔", NOT_REPRODUCED: "✘", INCOMPLETE: "…", NOT_JUDGED: "○"}
_MEANING = {
    REPRODUCED: "every value lies where the paper's claim needs it",
    NOT_REPRODUCED: "at least one value does not",
    INCOMPLETE: "runs are missing; the same command goes on where it was",
    NOT_JUDGED: "smoke size: only that everything runs and comes out finite",
}
_PROFILES = ("paper", "quick", "smoke")
_CLASSES = {REPRODUCED: "good", NOT_REPRODUCED: "bad", INCOMPLETE: "open", NOT_JUDGED: "none"}
_CSS = """
:root { color-scheme: light dark; --ink: #1c1c1e; --page: #fff; --soft: #f3f3f5; --line: #d0d0d6;
  --good: #0b6b3a; --bad: #a3201b; --open: #7a5200; --none: #55555e; --link: #004488; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8ea; --page: #17181a; --soft: #24252a; --line: #44454c;
  --good: #7ad6a4; --bad: #ff9d94; --open: #f0c36a; --none: #b8b8c0; --link: #9cc4ff; } }
body { margin: 0 auto; max-width: 64rem; padding: 1rem; font: 1rem/1.5 system-ui, sans-serif;
  color: var(--ink); background: var(--page); overflow-wrap: break-word; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-bottom: .25rem; } p { margin: .5rem 0; } a { color: var(--link); }
section { margin-top: 2rem; border-top: 2px solid var(--line); }
img { display: block; box-sizing: border-box; max-width: 100%; height: auto; margin: .75rem 0; border: 1px solid var(--line); }
table { border-collapse: collapse; width: 100%; margin: .75rem 0; }
th, td { padding: .35rem .6rem .35rem 0; text-align: start; vertical-align: top; border-bottom: 1px solid var(--line); }
code { background: var(--soft); padding: .1rem .25rem; overflow-wrap: anywhere; }
.claims { table-layout: fixed; } .claims th:first-child { width: 36%; } .claims th:last-child { width: 9.5rem; }
.runs th:last-child { width: 50%; }
dt { font-weight: 600; } dd { margin: 0 0 .35rem; } summary { cursor: pointer; padding: .25rem 0; }
.note { color: var(--none); font-size: .9rem; } .status { font-weight: 600; white-space: nowrap; }
.good { color: var(--good); } .bad { color: var(--bad); } .open { color: var(--open); } .none { color: var(--none); }
@media (max-width: 48rem) { thead { display: none; } table, tbody, tr, td { display: block; }
  tr { padding: .5rem 0; border-bottom: 1px solid var(--line); } td { padding: 0; border: 0; }
  td[data-label]::before { content: attr(data-label) ": "; font-weight: 600; color: var(--none); } }
"""


def collect(results: Path) -> list[dict[str, Any]]:
    """Every ``results/<paper>/<figure>/<profile>/verdict.json``, by paper, figure and profile (paper, quick, smoke).

    Each also gets ``folder``, the path where it lies. One that cannot be read counts as incomplete and says so.
    """
    return sorted((_read(path) for path in Path(results).glob("*/*/*/verdict.json")), key=_order)


def published(folder: Path) -> list[dict[str, Any]]:
    """Every ``<folder>/<paper>/<figure>/verdict.json``: what ships with the repository, by paper and figure."""
    return [json.loads(path.read_bytes()) for path in sorted(Path(folder).glob("*/*/verdict.json"))]


def _order(verdict: Mapping[str, Any]) -> tuple:
    profile = verdict["profile"]
    place = _PROFILES.index(profile) if profile in _PROFILES else len(_PROFILES)
    return verdict["paper"], verdict["figure"], place, profile


def _read(path: Path) -> dict[str, Any]:
    paper, figure, profile = path.parts[-4:-1]
    command = f"make reproduce-{paper}-{figure} PROFILE={profile}"
    plain = {"paper": paper, "figure": figure, "profile": profile, "command": command, "folder": path.parent}
    try:
        content = json.loads(path.read_bytes())
        if content["status"] not in SYMBOLS or not isinstance(content["claims"], list):
            raise ValueError
        return content | plain | {"command": content["command"]}
    except (ValueError, KeyError, TypeError):
        reason = "verdict.json is damaged; run the command again"
        return plain | {
            "title": f"{paper} {figure}",
            "about": reason,
            "status": INCOMPLETE,
            "claims": [],
            "seconds": 0,
        }


def _measured(claim: Mapping[str, Any]) -> str:
    """``0.97 (0.93 to 0.99, n = 20)``: the value, its 95 % interval and the number of runs, as far as known."""
    if claim.get("value") is None:
        return "no value yet"
    extra = []
    if claim.get("low") is not None and claim.get("high") is not None:
        extra.append(f"{claim['low']:.4g} to {claim['high']:.4g}")
    if claim.get("n") is not None:
        extra.append(f"n = {claim['n']}")
    return f"{claim['value']:.4g}" + (f" ({', '.join(extra)})" if extra else "")


def _paper(claim: Mapping[str, Any]) -> str:
    return f"{claim['paper']}; {claim['source']}" if claim.get("source") else str(claim["paper"])


def _reached(verdict: Mapping[str, Any]) -> str:
    reached = sum(claim["status"] == REPRODUCED for claim in verdict["claims"])
    return f"{reached} of {len(verdict['claims'])}" if verdict["claims"] else "none judged"


def front_page(readme: str, folder: Path) -> str:
    """The text of the README with the table of every published figure between its two markers."""
    rows = []
    for verdict in published(folder):
        where = f"published/{verdict['paper']}/{verdict['figure']}"
        first = verdict["claims"][0] if verdict["claims"] else None
        machine = "one core" if verdict["provenance"]["device"] == "cpu" else "a GPU"
        cells = (
            f"[{verdict['paper']} {verdict['figure']}]({where}/figure.png)",
            f"`{verdict['command']}`",
            f"{first['text']}: {_paper(first)} / **{_measured(first)}**" if first else "none",
            f"{_reached(verdict)} ([all]({where}/verdict.json))",
            _status(verdict["status"]),
            f"{duration(verdict['seconds'])} on {machine}",
        )
        rows.append(cells)
    headings = ("figure", "command", "first claim: paper / ours", "claims reached", "verdict", "time")
    table = _markdown_table(headings, rows, padded=False)
    before, _, rest = readme.partition("<!-- figures:begin -->")
    _, _, after = rest.partition("<!-- figures:end -->")
    return f"{before}<!-- figures:begin -->\n{table}\n<!-- figures:end -->{after}"


def _status(status: str) -> str:
    return f"{SYMBOLS[status]} {status}"


def _markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]], padded: bool = True) -> str:
    cells = [[" ".join(str(cell).split()).replace("|", "\\|") for cell in row] for row in (headings, *rows)]
    widths = [max(3, *map(len, column)) if padded else 3 for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in cells
    )


def markdown(verdicts: Sequence[Mapping[str, Any]]) -> str:
    """Two Markdown tables, one row per figure and one per claim, padded so that they read well in a terminal."""
    names = {
        id(verdict): f"{verdict['paper']} {verdict['figure']} ({verdict['profile']})" for verdict in verdicts
    }
    figures = _markdown_table(
        ("figure", "verdict", "claims reproduced", "time", "to go deeper"),
        (
            (
                names[id(v)],
                _status(v["status"]),
                _reached(v),
                duration(v["seconds"]),
                v.get("deeper") or v["command"],
            )
            for v in verdicts
        ),
    )
    claims = [
        (names[id(v)], c["text"], _paper(c), c.get("expected", ""), _measured(c), _status(c["status"]))
        for v in verdicts
        for c in v["claims"]
    ]
    if not claims:
        return figures
    headings = ("figure", "claim", "paper", "expected", "ours (95 % interval)", "verdict")
    return figures + "\n\n" + _markdown_table(headings, claims)


def _badge(status: str) -> str:
    return f'<span class="status {_CLASSES[status]}">{escape(_status(status))}</span>'


def _html_table(headings: Sequence[str], rows: Iterable[Sequence[str]], name: str) -> str:
    """Cells are HTML. The roles keep it a table for a screen reader where a narrow screen shows the rows as cards."""
    head = "".join(f'<th scope="col" role="columnheader">{escape(heading)}</th>' for heading in headings)
    body = "".join(
        '<tr role="row">'
        + "".join(
            f'<td role="cell" data-label="{escape(heading)}">{cell}</td>'
            for heading, cell in zip(headings, row, strict=True)
        )
        + "</tr>\n"
        for row in rows
    )
    return (
        f'<table role="table" class="{name}"><thead role="rowgroup"><tr role="row">{head}</tr></thead>\n'
        f'<tbody role="rowgroup">\n{body}</tbody></table>\n'
    )


def _picture(verdict: Mapping[str, Any]) -> str:
    path = Path(verdict["folder"]) / "figure.png" if verdict.get("folder") else None
    if path is None or not path.is_file():
        return '<p class="note">There is no picture yet.</p>\n'
    data = base64.b64encode(path.read_bytes()).decode()
    alt = f"{verdict['paper']} {verdict['figure']}, {verdict['profile']} profile: {verdict['title']}"
    return f'<img alt="{escape(alt)}" src="data:image/png;base64,{data}">\n'


def _provenance(verdict: Mapping[str, Any]) -> str:
    known = verdict.get("provenance") or {}
    revision = (
        f"{known.get('revision') or 'unknown'}{', with uncommitted changes' if known.get('dirty') else ''}"
    )
    packages = ", ".join(
        f"{name} {version}" for name, version in sorted((known.get("packages") or {}).items())
    )
    machine = f"{known.get('platform')}, {known.get('cores')} cores, device {known.get('device')}"
    entries = {
        "Revision": revision,
        "Finished": known.get("finished"),
        "Machine": machine if known else None,
        "Python and packages": f"Python {known.get('python')}; {packages}" if known else None,
    }
    items = "".join(
        f"<dt>{key}</dt><dd>{escape(str(value or 'unknown'))}</dd>\n" for key, value in entries.items()
    )
    return f"<details><summary>Where the numbers come from</summary>\n<dl>\n{items}</dl></details>\n"


def _runs(verdict: Mapping[str, Any]) -> str:
    runs = verdict.get("runs") or []
    rows = (
        (
            escape(run["name"] + ("" if run.get("seed") is None else f", seed {run['seed']}")),
            escape(run["status"]),
            duration(run.get("seconds") or 0),
            f"<code>{escape(run['address'])}</code>",
            f"<code>{escape(run['command'])}</code>",
        )
        for run in runs
    )
    table = _html_table(("Run", "State", "Time", "Address", "Command"), rows, "runs")
    return f"<details><summary>{len(runs)} runs</summary>\n{table}</details>\n" if runs else ""


def _section(verdict: Mapping[str, Any]) -> str:
    rows = (
        (
            escape(claim["text"])
            + (f'<br><span class="note">{escape(claim["note"])}</span>' if claim.get("note") else ""),
            escape(_paper(claim)),
            escape(claim.get("expected", "")),
            escape(_measured(claim)),
            _badge(claim["status"]),
        )
        for claim in verdict["claims"]
    )
    headings = ("Claim", "Paper", "Expected", "Ours (95 % interval)", "Verdict")
    claims = _html_table(headings, rows, "claims") if verdict["claims"] else ""
    note = f"<p>{escape(verdict['note'])}</p>\n" if verdict.get("note") else ""
    deeper = f" To go deeper: <code>{escape(verdict['deeper'])}</code>" if verdict.get("deeper") else ""
    return (
        f'<section id="{escape(_anchor(verdict))}">\n<h2>{escape(verdict["title"])}</h2>\n'
        f"<p>{_badge(verdict['status'])} · {escape(verdict['paper'])} {escape(verdict['figure'])}, "
        f"{escape(verdict['profile'])} profile · {duration(verdict['seconds'])} of computing</p>\n"
        f"<p>{escape(verdict.get('about', ''))}</p>\n{note}{_picture(verdict)}{claims}"
        f"<p>Made with <code>{escape(verdict['command'])}</code>.{deeper}</p>\n"
        f"{_provenance(verdict)}{_runs(verdict)}</section>\n"
    )


def _anchor(verdict: Mapping[str, Any]) -> str:
    return f"{verdict['paper']}-{verdict['figure']}-{verdict['profile']}"


def html(verdicts: Sequence[Mapping[str, Any]]) -> str:
    """The whole page: an overview, then per figure its picture, claims, commands, provenance and runs."""
    counts = Counter(verdict["status"] for verdict in verdicts)
    totals = ", ".join(f"{counts[status]} {status}" for status in SYMBOLS if counts[status]) or "nothing yet"
    legend = "".join(
        f"<dt>{_badge(status)}</dt><dd>{escape(text)}</dd>\n" for status, text in _MEANING.items()
    )
    rows = (
        (
            f'<a href="#{escape(_anchor(v))}">{escape(v["paper"])} {escape(v["figure"])}</a>',
            escape(v["profile"]),
            _badge(v["status"]),
            _reached(v),
            duration(v["seconds"]),
        )
        for v in verdicts
    )
    overview = _html_table(("Figure", "Profile", "Verdict", "Claims reproduced", "Time"), rows, "overview")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Reproductions: {totals}</title>\n<style>{_CSS}</style>\n</head>\n<body>\n"
        f"<header>\n<h1>What was run, and what came out</h1>\n<p>Figures: {totals}.</p>\n</header>\n<main>\n"
        f"{overview}<details><summary>What the verdicts mean</summary>\n<dl>\n{legend}</dl></details>\n"
        f"{''.join(map(_section, verdicts))}</main>\n</body>\n</html>\n"
    )


def write(results: Path) -> Path:
    """Write ``index.html`` into the results folder, atomically; returns its path."""
    page = Path(results) / "index.html"
    write_atomically(page, html(collect(results)).encode())
    return page
