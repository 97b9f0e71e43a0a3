"""How fast the sampled games run on one CPU core, as ratios to the released program's times on such a machine.

Prints ours against the original's; where an outer step's time goes, and the arithmetic limit of the core (matrix
products of the GRU and the projections at the core's measured peak) with our distance from it; and agents and seeds in
turn against side by side. The original's numbers are wall time on two shared cores of a machine of this kind; ours are wall and CPU seconds of one core,
and the ratios are taken from the wall.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from pola.dice import learner, training
from pola.dice.config import Config, parse
from pola.dice.evaluation import evaluate
from pola.dice.rollout import sample

PAPER = "--rollout_len 50 --hidden_size 64 --layers_before_gru 1 --lr_v 0.0005 --lr_out 0.003 --contrib_factor 1.33"
LOLA = f"--env ipd {PAPER} --lr_in 0.05 --batch_size 2000 --inner_steps 1 --outer_steps 1"
POLA = f"--env ipd {PAPER} --lr_in 0.005 --inner_beta 10 --outer_beta 100 --inner_steps 2"
SMALL = (
    "--env ipd --rollout_len 20 --hidden_size 16 --layers_before_gru 1 --inner_steps 2 --outer_steps 30 "
    "--lr_in 0.02 --lr_out 0.005 --inner_beta 10 --outer_beta 100 --contrib_factor 1.6"
)


@dataclass(frozen=True)
class Case:
    """A setting, how often its epoch is run per call, and the original's seconds."""

    name: str
    words: str
    epochs: int
    unit: str
    released: float  # seconds per unit, evaluation after every epoch included
    released_compile: float


CASES = (
    Case("LOLA-DiCE IPD, B 2000, T 50, H 64", LOLA, 3, "update", 13.1, 66),
    Case(
        "POLA-DiCE IPD, B 200, T 50, H 64, K 2, M 4",
        f"{POLA} --batch_size 200 --outer_steps 4",
        2,
        "step",
        0.8,
        131,
    ),
    Case("POLA-DiCE IPD, B 256, T 20, H 16, K 2, M 30", f"{SMALL} --batch_size 256", 2, "step", 0.07, 113),
    Case("POLA-DiCE IPD, B 128, T 20, H 16, K 2, M 30", f"{SMALL} --batch_size 128", 2, "step", 0.05, 113),
)


@dataclass(frozen=True)
class Clock:
    """Seconds on the wall and on the CPU."""

    wall: float
    cpu: float

    @classmethod
    def of(cls, work: Callable[[], Any]) -> tuple[Clock, Any]:
        """Time of `work()` until its arrays are there, and its result."""
        wall, cpu = time.perf_counter(), time.process_time()
        result = jax.block_until_ready(work())
        return cls(time.perf_counter() - wall, time.process_time() - cpu), result

    @classmethod
    def best(cls, work: Callable[[], Any], repeats: int = 3) -> Clock:
        """The fastest of some repeats, by CPU time."""
        return min((cls.of(work)[0] for _ in range(repeats)), key=lambda clock: clock.cpu)

    def __truediv__(self, number: float) -> Clock:
        return Clock(self.wall / number, self.cpu / number)

    def __str__(self) -> str:
        return f"{self.wall:8.4f} {self.cpu:8.4f}"


def peak_flops() -> float:
    """Floating-point operations per second of a large matrix product on this core."""
    square = jnp.ones((1024, 1024))
    product = jax.jit(lambda x: x @ x)
    jax.block_until_ready(product(square))
    return 2 * 1024**3 / Clock.best(lambda: product(square), 10).cpu


_SHAPE = re.compile(r"^\s*(?:ROOT )?%([\w.\-]+) = \w+\[([\d,]*)\]")


def matrix_flops(text: str) -> float:
    """Operations of the matrix products of a compiled program (its HLO text), loops by their trip counts."""
    bodies: dict[str, list[str]] = {}
    entry, current = "", None
    for line in text.splitlines():
        head = re.match(r"^(ENTRY )?%([\w.\-]+) \(.*\{$", line)
        if head:
            current = bodies.setdefault(head[2], [])
            entry = head[2] if head[1] else entry
        elif current is not None:
            current.append(line)

    def cost(name: str) -> float:
        shapes = {found[1]: found[2] for line in bodies[name] if (found := _SHAPE.match(line))}
        total = 0.0
        for line in bodies[name]:
            times = re.search(r'known_trip_count":\{"n":"(\d+)"', line)
            called = re.findall(r"(?:calls|body|to_apply)=%([\w.\-]+)", line)
            total += (int(times[1]) if times else 1) * sum(cost(inner) for inner in called)
            dot = re.search(r" dot\((?:\S+ )?%([\w.\-]+), .*lhs_contracting_dims=\{([\d,]*)\}", line)
            if dot:
                left = [int(size) for size in shapes[dot[1]].split(",")]
                summed = math.prod(left[int(axis)] for axis in dot[2].split(","))
                total += (
                    2 * summed * math.prod(int(size) for size in _SHAPE.match(line)[2].split(",") if size)
                )
        return total

    return cost(entry)


def _configure(case: Case) -> tuple[Config, Any, Any]:
    config = training.resolve_axes(parse(case.words.split()), "cpu")
    env = training.make_game(config)
    state = jax.jit(lambda seed: training.initial_state(config, env, seed))(np.uint32(1))
    return config, env, jax.block_until_ready(state)


def compare(case: Case) -> None:
    """One row of the first table: seconds per update or per outer step and agent, and compilation."""
    started = time.perf_counter()
    config, env, state = _configure(case)
    clock, step = Clock.of(lambda: training.make_advance(config, env).lower(state, np.int32(1)).compile())
    _, (state, _) = Clock.of(lambda: step(state, np.int32(1)))
    first = time.perf_counter() - started
    units = 1 if case.unit == "update" else 2 * config.outer_steps
    times = []
    for epochs in (case.epochs, case.epochs, 0):
        spent, (state, _) = Clock.of(lambda epochs=epochs, state=state: step(state, np.int32(epochs)))
        times.append(spent)
    judged = times.pop()
    best = min(times, key=lambda clock: clock.cpu)
    plain = Clock(best.wall - judged.wall, best.cpu - judged.cpu) / (case.epochs * units)
    whole = Clock(plain.wall + judged.wall / units, plain.cpu + judged.cpu / units)
    print(
        f"{case.name:46} {case.unit:6} {plain} | {whole} | {case.released:6.2f} {case.released / whole.wall:6.1f}x |"
        f" {clock.wall:5.1f} {case.released_compile:5.0f} {case.released_compile / clock.wall:5.1f}x | {first:5.1f}",
        flush=True,
    )


def _repeated(work: Callable, policy, count: int):
    """`work(policy, number)` -> array, `count` times in one program, each after the other."""

    def turn(carry, number):
        policy, total = carry
        total = total + work(policy, number)
        # depends on the last turn, so nothing is taken out of the loop
        return (jax.tree.map(lambda leaf: leaf + 1e-20 * total, policy), total), None

    return jax.jit(lambda: lax.scan(turn, (policy, jnp.zeros(())), jnp.arange(count))[0][1])


def _total(tree) -> jax.Array:
    return sum(jnp.sum(leaf.astype(jnp.float32)) for leaf in jax.tree.leaves(tree))


def dissect(case: Case, peak: float) -> None:
    """Where the time of one agent's outer step goes, and how far it is from its matrix products' limit."""
    config, env, state = _configure(case)
    me, other = (jax.tree.map(lambda leaf, k=k: leaf[k], state.agents.networks) for k in (0, 1))
    shape, count = (config.rollout_len, config.batch_size), 3 if config.batch_size > 1000 else 20
    key = jax.random.PRNGKey(7)

    def play(number, mine, theirs):
        return sample(env, mine, theirs, 0, jax.random.fold_in(key, number), *shape)

    paths = jax.jit(lambda: [play(k, me.policy, other.policy) for k in range(config.inner_steps + 1)])()

    def stored(number, mine, theirs):
        return paths[number]

    def chain(policy):
        return learner.anticipate(config, env, policy, other, stored)

    def back(policy, _):
        ahead, pull = jax.vjp(chain, policy)
        return _total(pull(ahead))

    def step(policy, number, play):
        mine = me._replace(policy=policy)
        return _total(learner.outer_gradient(config, env, mine, other, me.policy, play)[0])

    parts = {
        "rollouts": lambda policy, number: sum(
            _total(play(number + k, policy, other.policy)) for k in range(config.inner_steps + 1)
        ),
        "chain": lambda policy, number: _total(chain(policy)),
        "chain and back": back,
        "without rollouts": lambda policy, number: step(policy, number, stored),
        "whole": lambda policy, number: step(policy, number, play),
        "evaluation": lambda policy, number: _total(
            evaluate(config, env, training.policies_of(state), jax.random.fold_in(key, number))
        ),
    }
    seconds, products = {}, 0.0
    for name, work in parts.items():
        program = _repeated(work, me.policy, count)
        compiled = program.lower().compile()
        jax.block_until_ready(compiled())
        seconds[name] = Clock.best(compiled, 2).cpu / count
        if name == "whole":
            products = matrix_flops(compiled.as_text()) / count
    whole, judged = seconds["whole"], seconds["evaluation"] / (2 * config.outer_steps)
    shares = {
        "rollouts": seconds["rollouts"],
        "inner chain": seconds["chain"],
        "back through it": seconds["chain and back"] - seconds["chain"],
        "own gradient": seconds["without rollouts"] - seconds["chain and back"],
    }
    listed = ", ".join(f"{name} {part / whole:.0%}" for name, part in shares.items())
    print(f"{case.name}\n  {whole:.4f} CPU s per outer step and agent: {listed}")
    print(
        f"  an evaluation adds {judged:.4f} s per outer step and agent ({judged / whole:.0%}) when every epoch has one"
    )
    limit = products / peak
    print(
        f"  matrix products {products / 1e9:.2f} GFLOP, at this core's {peak / 1e9:.0f} GFLOP/s {limit:.4f} s: the code "
        f"takes {whole / limit:.1f} times that; the rest is element-wise work on arrays of [T, B, H]\n",
        flush=True,
    )


def compare_axes(seeds: int = 4) -> None:
    """Agents and seeds in turn or side by side, at the small setting: seconds per outer step, agent and seed."""
    config, env, _ = _configure(CASES[2])
    lanes = jnp.arange(1, seeds + 1, dtype=jnp.uint32)
    print(f"{CASES[2].name}: {seeds} seeds, per outer step, agent and seed")
    for agent_axis, seed_axis in (("loop", "loop"), ("vmap", "loop"), ("loop", "vmap"), ("vmap", "vmap")):
        chosen = dataclasses.replace(config, agent_axis=agent_axis)
        start = jax.jit(jax.vmap(lambda seed, chosen=chosen: training.initial_state(chosen, env, seed)))(
            lanes
        )
        together = seed_axis == "vmap"
        state = start if together else jax.tree.map(lambda leaf: leaf[0], start)
        epochs = np.ones(seeds, np.int32) if together else np.int32(1)
        step = training.make_advance(chosen, env, seeds if together else 0)
        state, _ = jax.block_until_ready(step(state, epochs))
        spent, _ = Clock.of(lambda step=step, state=state, epochs=epochs: step(state, epochs))
        units = 2 * config.outer_steps * (seeds if together else 1)
        print(f"  agents {agent_axis}, seeds {seed_axis}: {spent / units} (wall, CPU)", flush=True)


def main() -> None:
    """Print the tables; JAX_PLATFORMS=cuda in the environment measures a GPU instead of one core."""
    if not os.environ.get("JAX_PLATFORMS"):
        jax.config.update("jax_platforms", "cpu")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    print(
        f"{'':46} {'per':6} {'without evaluation':>17} | {'evaluated each epoch':>17} | original, ratio |"
        " compile, orig., ratio | to 1st epoch"
    )
    print(f"{'':53} {'wall':>8} {'CPU':>8} | {'wall':>8} {'CPU':>8} |")
    for case in CASES:
        compare(case)
    print()
    peak = peak_flops()
    for case in CASES[:3]:
        dissect(case, peak)
    compare_axes()


if __name__ == "__main__":
    main()
