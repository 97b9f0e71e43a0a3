"""How fast the league is, as a ratio to the released program's time.

A pair of the published size (LOQA agents of 128 and 64 units, 32 games of 50 steps on 3 x 3 cells): compilation once per
kind of pair, then seconds per pair; the last ratio is that of a league of one pair, compilation included. The original took about 500 s per pair on two CPU cores (10 to 13 s per step).
"""

import time

import jax
import numpy as np

from loqa.coin import agents as coin
from loqa.league.agents import Agent, RecurrentPolicy, scripted_agents
from loqa.league.play import play_pairs
from loqa.league.program import GAME, LANES, choose_device

ORIGINAL = 500.0
GAMES, STEPS = 32, 50


def _loqa(number: int) -> Agent:
    sizes = coin.Architecture(GAME.observation_size, 128, 2, 64, 2)
    params = jax.device_get(coin.init(sizes, jax.random.PRNGKey(number)))
    return Agent(f"loqa_{number}", "LOQA", RecurrentPolicy(), params["actor_head"])


def main() -> None:
    """Print compile time, seconds per pair and the ratio for each kind of pair."""
    device = choose_device("auto")
    learners, scripted = [_loqa(number) for number in range(LANES)], scripted_agents(GAME)
    kinds = {
        "LOQA - LOQA": [(learners[0], other) for other in learners],
        "LOQA - scripted": [(own, scripted[0]) for own in learners],
        "scripted - scripted": [(scripted[0], scripted[1])] * LANES,
    }
    print(
        f"{GAMES} games of {STEPS} steps, {LANES} pairs a call, on the {device}; original {ORIGINAL:.0f} s a pair"
    )
    print(f"{'pair':22} {'first call s':>12} {'s per pair':>11} {'ratio':>9} {'ratio, one pair alone':>22}")
    for name, pairs in kinds.items():
        seconds = []
        for _ in range(6):
            began = time.perf_counter()
            play_pairs(GAME, pairs, 2, GAMES, STEPS, LANES)
            seconds.append(time.perf_counter() - began)
        each = float(np.median(seconds[1:])) / LANES
        print(
            f"{name:22} {seconds[0]:12.2f} {each:11.4f} {ORIGINAL / each:9.0f} {ORIGINAL / seconds[0]:22.0f}"
        )


if __name__ == "__main__":
    main()
