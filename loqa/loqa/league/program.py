"""What the league's commands do: which pairs, in which order, what is written when."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from common import plotting
from common.checkpoints import write_atomically
from common.cli import UserError, nearest
from common.progress import Progress
from loqa import program
from loqa.coin.game import CoinGame
from loqa.league import heat_map, loaders, results
from loqa.league.agents import Agent, league_order, scripted_agents
from loqa.league.config import League, Merge
from loqa.league.play import PairReport, play_pairs
from loqa.league.results import Results

GAME = CoinGame(3, 3)
#: pairs that one compiled call plays
LANES = 10


def choose_device(device: str) -> str:
    """As `loqa.program.choose_device`, with the original's random streams."""
    return program.choose_device(device, jax_threefry_partitionable=False)


def line_up(folder: str, mfos_carried: bool = False) -> list[Agent]:
    """Every agent that can play, in league order: those of `folder` and the scripted ones.

    Raises: UserError, as the loaders; also when an agent has a scripted player's name.
    """
    scripted = scripted_agents(GAME)
    agents = loaders.load_folder(Path(folder), GAME, mfos_carried) if folder else []
    taken = {agent.name for agent in agents} & {agent.name for agent in scripted}
    if taken:
        raise UserError(f"{folder} has an agent named {min(taken)}, which is a scripted player; rename it")
    return league_order(agents + scripted)


def pick(agents: Sequence[Agent], name: str) -> Agent:
    """The agent called `name`. Raises UserError, with the names that there are."""
    for agent in agents:
        if agent.name == name:
            return agent
    raise UserError(f"no agent {name!r}; {nearest(name, (agent.name for agent in agents))}")


def _is_ablation(agent: Agent) -> bool:
    return agent.family in ("LOQA-noRB", "LOQA-noSP") or "ablation" in agent.name


def pairs_of(agents: Sequence[Agent], mode: str) -> list[tuple[Agent, Agent]]:
    """The pairs (earlier agent, later or same agent) of a league mode (`config.MODES`), in league order."""
    keeps = {
        "all": lambda one, other: True,
        "self_play": lambda one, other: one is other,
        "trained_opponent": lambda one, other: one.trained and other.trained,
        "random_opponent": lambda one, other: "Random" in (one.family, other.family),
        "ablation": lambda one, other: _is_ablation(one),
        "ablation_2": lambda one, other: _is_ablation(other),
        "mfos": lambda one, other: "M-FOS" in (one.family, other.family),
        "advantage_alignment": lambda one, other: "AA" in (one.family[:2], other.family[:2]),
    }
    every = [(one, other) for i, one in enumerate(agents) for other in agents[i:]]
    return [pair for pair in every if keeps[mode](*pair)]


def _save_episodes(path: Path, report: PairReport) -> None:
    """A pair's games: players [T+1, B, 2], coin, owner [T+1, B] (cells and seats), actions, rewards [T, B, 2]."""
    states, actions, rewards = report.episodes
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer, players=states.players, coin=states.coin, owner=states.owner, actions=actions, rewards=rewards
    )
    write_atomically(path, buffer.getvalue())


def in_chunks(
    pairs: Sequence[tuple[Agent, Agent]], seed: int, batch: int, steps: int
) -> Iterator[list[tuple[tuple[Agent, Agent], PairReport]]]:
    """Play pairs, up to `LANES` alike at a time: lists of (pair, report), in the order in which they are computed."""
    groups: dict[tuple, list[tuple[Agent, Agent]]] = {}
    for pair in pairs:
        groups.setdefault(tuple(agent.signature() for agent in pair), []).append(pair)
    for group in groups.values():
        for begin in range(0, len(group), LANES):
            chunk = group[begin : begin + LANES]
            yield list(zip(chunk, play_pairs(GAME, chunk, seed, batch, steps, LANES), strict=True))


def play_league(
    agents: Sequence[Agent], pairs: Sequence[tuple[Agent, Agent]], league: League, path: Path
) -> Results:
    """Play the pairs that `path` does not hold yet; after every call the file holds what was played.

    Args: `agents` and `pairs` from `line_up` and `pairs_of`.
    Raises: UserError when `path` was begun with other agents or settings.
    """
    settings = {
        "games": league.batch_size,
        "steps": league.trace_length,
        "seed": league.seed,
        "mfos_memory": league.mfos_memory,
    }
    playing = {agent.name for pair in pairs for agent in pair}
    described = {
        agent.name: {"family": agent.family, "sha256": agent.digest}
        for agent in agents
        if agent.name in playing
    }
    kept = Results.read(path)
    kept.check(described, settings)
    kept.agents |= described

    def log_of(names: tuple[str, str]) -> Path:
        return path.with_name(f"{league.label}_episode_logs") / f"{names[0]}_vs_{names[1]}.npz"

    def is_done(names: tuple[str, str]) -> bool:
        return names in kept.pairs and (not league.episode_logs or log_of(names).exists())

    waiting = [pair for pair in pairs if not is_done(_names(pair))]
    bar, done = Progress("league", len(waiting)), 0
    for played in in_chunks(waiting, league.seed, league.batch_size, league.trace_length):
        for pair, report in played:
            if league.episode_logs:
                _save_episodes(log_of(_names(pair)), report)
            kept.add(*_names(pair), settings, report.statistics, report.standard_error)
        kept.save()
        done += len(played)
        bar.update(done)
    bar.close()
    order = {_names(pair): number for number, pair in enumerate(pairs)}
    kept.pairs = dict(sorted(kept.pairs.items(), key=lambda item: order.get(item[0], len(order))))
    kept.save()
    return kept


def _names(pair: tuple[Agent, Agent]) -> tuple[str, str]:
    return pair[0].name, pair[1].name


def _report(kept: Results, title: str) -> None:
    """Tables, picture, and the families' means on the screen."""
    means = results.family_means(results.pair_returns(kept))
    paths = results.write_tables(kept)
    mode = kept.path.name.removesuffix("results_matrix.json")
    paths += plotting.save(heat_map.picture(means, title), kept.path.parent, f"{mode}heat_map")
    print(f"{'families':32} {'pairs':>11} {'first':>8} {'second':>8}")
    for row in means:
        names = f"{row['family1']} - {row['family2']}"
        print(f"{names:32} {row['n']:5} {row['pairs']:5} {row['mean_1']:8.3f} {row['mean_2']:8.3f}")
    print("written:", ", ".join(str(path) for path in (kept.path, *paths)))


def run_main(league: League) -> int:
    """`main`: play, write, print."""
    choose_device(league.device)
    agents = line_up(league.agents, league.mfos_memory == "carried")
    if league.league_mode:
        pairs = pairs_of(agents, league.league_mode)
    else:
        pairs = [(pick(agents, league.agent1), pick(agents, league.agent2))]
    if not pairs:
        raise UserError(
            f"--league_mode {league.league_mode} keeps no pair of these agents; is --agents right?"
        )
    path = Path(league.league_name) / f"{league.label}{results.SUFFIX}"
    kept = play_league(agents, pairs, league, path)
    _report(kept, f"League: {league.label}")
    return 0


def run_merge(merge: Merge) -> int:
    """`merge`: one file, its tables and its picture from the files of a folder."""
    merged = results.merge(Path(merge.league_name))
    merged.save()
    _report(merged, f"League: {Path(merge.league_name).name}")
    return 0
