"""Cleanup alone: steps per second of one process, as a ratio to the original's (spec section 9).

Random actions, two agents; a step includes its random draws and both agents' pictures, which are used (their sum is kept), and
episodes start anew every 50 steps. The clock is the process's CPU time, which other programs on the machine disturb little; the
wall time is printed beside it. XLA has one thread.

    python benchmarks/env_speed.py
"""

import argparse
import os
import sys
import time

import jax
import jax.numpy as jnp

from common.cli import StrictParser
from iqflow.env.cleanup import maps
from iqflow.env.cleanup.environment import Cleanup
from iqflow.env.registration import ENVIRONMENTS

#: steps per second of the original (spec section 9), and its map here
ORIGINAL = {"iqflow/Cleanup7x7-v0": 2000.0, "iqflow/Cleanup10x10-v0": 1500.0}


def _program(env: Cleanup, games: int, episodes: int):
    """`episodes` episodes of `games` games, compiled; it returns sums of what the games produced."""

    def episode(key):
        reset_key, action_key, step_key = jax.random.split(key, 3)
        state, _ = jax.vmap(env.reset)(jax.random.split(reset_key, games))
        shape = (env.max_steps, games, env.n_agents)
        actions = jax.random.randint(action_key, shape, 0, env.n_actions)
        keys = jax.random.split(step_key, (env.max_steps, games))

        def step(carry, inputs):
            state, total = carry
            state, seen, rewards, _, _ = jax.vmap(env.step)(inputs[0], state, inputs[1])
            return (state, total + rewards.sum() + seen.sum()), None

        (_, total), _ = jax.lax.scan(step, (state, jnp.float32(0)), (keys, actions))
        return total

    @jax.jit
    def run(key):
        return jax.lax.map(episode, jax.random.split(key, episodes)).sum()

    return run.lower(jax.random.PRNGKey(0)).compile()


def measure(env: Cleanup, games: int, episodes: int, repeats: int) -> tuple[float, float, float]:
    """Steps per second by CPU and by wall time, the best of `repeats`, and seconds to compile."""
    began = time.perf_counter()
    run = _program(env, games, episodes)
    compiled = time.perf_counter() - began
    jax.block_until_ready(run(jax.random.PRNGKey(1)))
    steps, cpu, wall = games * episodes * env.max_steps, [], []
    for number in range(repeats):
        cpu_began, wall_began = time.process_time(), time.perf_counter()
        jax.block_until_ready(run(jax.random.PRNGKey(number)))
        cpu.append(time.process_time() - cpu_began)
        wall.append(time.perf_counter() - wall_began)
    return steps / min(cpu), steps / min(wall), compiled


def _options(argv) -> argparse.Namespace:
    parser = StrictParser(prog="env_speed.py", description=__doc__.splitlines()[0])
    parser.add_argument("--games", default="1,256", help="games at a time, several separated by commas")
    parser.add_argument("--steps", type=int, default=50_000, help="steps per measurement, at least")
    parser.add_argument("--repeats", type=int, default=5, help="measurements, of which the best counts")
    return parser.parse_args(argv)


def main(argv=None) -> None:
    """Print one line per map and number of games."""
    options = _options(argv)
    os.environ.setdefault("NPROC", "1")  # read when JAX starts its backend
    if not os.environ.get("JAX_PLATFORMS"):
        jax.config.update("jax_platforms", "cpu")
    print(
        f"{'environment':24} {'games':>6} {'steps/s (CPU)':>14} {'(wall)':>12} {'original':>9} {'ratio':>7} {'compile':>9}"
    )
    for name, original in ORIGINAL.items():
        settings = dict(ENVIRONMENTS[name][1])
        env = Cleanup(rows=maps.named(settings.pop("map_name")), **settings)
        for games in (int(part) for part in options.games.split(",")):
            episodes = -(-options.steps // (games * env.max_steps))
            cpu, wall, compiled = measure(env, games, episodes, options.repeats)
            print(
                f"{name:24} {games:6d} {cpu:14,.0f} {wall:12,.0f} {original:9,.0f} {cpu / original:7.1f} {compiled:8.1f}s",
                flush=True,
            )


if __name__ == "__main__":
    sys.exit(main())
