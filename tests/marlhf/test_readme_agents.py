"""The README's table of agents says what the committed files say."""

from pathlib import Path

from marlhf import agents

HOME = Path(__file__).resolve().parents[2] / "marlhf"
ROLES = (*agents.LABELS, "deviator1")


def line(folder):
    """An environment's line of the table: per label its return as it plays in the data, and its skill."""
    metas = {path.stem: agents.load_meta(path) for path in folder.glob("*.safetensors")}
    cells = []
    for role in ROLES:
        meta = metas.get(role)
        way = next((way for way in ("eps0.05", "sampled") if meta and way in meta.returns), None)
        cells.append(f"{meta.returns[way].mean:.2f} ({meta.skill:.2f})" if way else "")
    random = next(meta.random for meta in metas.values() if meta.random is not None)
    return "| " + " | ".join([folder.name, *cells, f"{random:.2f}"]) + " |"


def test_the_readme_lists_every_committed_agent():
    wanted = [line(folder) for folder in sorted((HOME / "agents").iterdir()) if folder.is_dir()]
    text = (HOME / "README.md").read_text("utf-8")
    missing = [row for row in wanted if row not in text]
    assert wanted and not missing, "\n".join(["README.md lacks", *missing])
