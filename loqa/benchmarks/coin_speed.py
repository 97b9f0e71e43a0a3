"""How fast the Coin Game trains on one CPU core, as ratios to the released program's times (spec section 9).

Each setting runs in a process of its own, so that its peak memory is its own: seconds per iteration with the past agents
of a whole run in the buffer, the parts of an iteration, and the arithmetic limit (the networks' matrix products at the
core's measured peak) with our distance from it. Ratios are taken from CPU seconds, which other programs on the machine
disturb less than the wall clock.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from loqa.coin import agents, training
from loqa.coin.config import Hp, parse
from loqa.coin.rollout import against_past, draw_noise, episode_keys

README = (
    "hp=loqa_iclr hp.seed=42 hp.game.width=3 hp.game.height=3 hp.batch_size=512 hp.save_every=1000 "
    "hp.actor.train.lr_loss_actor=0.001 hp.qvalue.train.lr_loss_qvalue=0.01 hp.actor.train.entropy_beta=0.1 "
    "hp.actor.layers_before_gru=2 hp.actor.hidden_size=128 hp.agent_replay_buffer.mode=enabled "
    "hp.agent_replay_buffer.capacity=10000 hp.agent_replay_buffer.update_freq=10 hp.just_self_play=True"
)


@dataclass(frozen=True)
class Case:
    """A setting, how many iterations are timed, and the original's seconds per iteration and peak memory in GB."""

    about: str
    words: str
    iterations: int
    released: float
    released_memory: float


CASES = {
    "readme": Case("README: batch 512, hidden 128/64, buffer on", README, 5, 5.0, 18.2),
    "reduced": Case(
        "reduced: batch 128, hidden 32/32, buffer on",
        f"{README} hp.batch_size=128 hp.actor.hidden_size=32 hp.qvalue.hidden_size=32 "
        "hp.agent_replay_buffer.capacity=1000",
        50,
        0.108,
        0.74,
    ),
}


def spent(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """CPU seconds and wall seconds of `work()` until its arrays are there, and its result."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = jax.block_until_ready(work())
    return time.process_time() - cpu, time.perf_counter() - wall, result


def best(work: Callable[[], Any], repeats: int = 3) -> float:
    """CPU seconds of the fastest of some repeats."""
    return min(spent(work)[0] for _ in range(repeats))


def peak_flops() -> float:
    """Floating-point operations per second of a large matrix product on this core."""
    square = jnp.ones((1024, 1024))
    product = jax.jit(lambda x: x @ x)
    jax.block_until_ready(product(square))
    return 2 * 1024**3 / best(lambda: product(square), 10)


def matrix_flops(hp: Hp) -> float:
    """Operations of one iteration's matrix products, in self-play with the buffer on.

    Per observation a head multiplies by its dense layers, three input and three recurrent kernels, and the output layer;
    a backward pass counts as two forward passes. Policies: the learner's forward (in the rollout) and backward, the
    opponent's, the target's. Q heads: the opponent's, the target's, and the learner's forward and backward in both of
    its updates.
    """
    sizes = training.architecture(hp)

    def products(inputs: int, hidden: int, layers: int) -> int:
        before = inputs * hidden + (layers - 1) * hidden**2 if layers else 0
        into_gates = 3 * (hidden if layers else inputs) * hidden
        return before + into_gates + 3 * hidden**2 + 4 * hidden

    policy = products(sizes.observation_size, sizes.actor_hidden, sizes.actor_layers)
    q = products(sizes.observation_size + 1, sizes.q_hidden, sizes.q_layers)
    rows = (hp.game.game_length + 1) * hp.batch_size
    return 2.0 * rows * (5 * policy + 8 * q)


def late_state(trainer: training.Trainer) -> training.State:
    """The state of a run whose buffer is full of (equal) past agents."""

    def full(buffer, params):
        ring = jax.tree.map(lambda leaf, new: jnp.broadcast_to(new[None], leaf.shape), buffer.agents, params)
        return buffer._replace(agents=ring, pushes=jnp.int32(jax.tree.leaves(ring)[0].shape[0]))

    def make(seed):
        state = trainer.fresh(seed)
        pairs = zip(state.buffers, state.learners, strict=True)
        filled = tuple(full(buffer, learner.params) for buffer, learner in pairs)
        return state._replace(buffers=filled, iteration=state.iteration + 1)

    return jax.jit(make)(np.uint32(42))


def parts(hp: Hp, state: training.State) -> dict[str, float]:
    """CPU seconds of the parts of an iteration, each compiled and called alone."""
    game, learner, batch = training.make_game(hp), state.learners[0], hp.batch_size
    keys = episode_keys(state.key, batch)
    slots = jax.random.randint(state.key, (batch,), 0, state.buffers[0].pushes)
    noise_of = jax.jit(lambda keys: draw_noise(game, keys, hp.game.game_length))
    play = jax.jit(lambda params, buffer, noise: against_past(game, params, params, buffer, slots, 0, noise))
    noise = noise_of(keys)
    episodes, heads = jax.block_until_ready(play(learner.params, state.buffers[0], noise))
    actor = jax.jit(lambda *now: training.improve_actor(hp, game, 0, *now, 1, False)[0])
    q = jax.jit(lambda *now: training.improve_q(hp, game, *now))
    policy = jax.jit(agents.policy_outputs)
    seen = jax.jit(game.flat_observation)(episodes.states)[:, :, 0]
    work = {
        "random numbers": lambda: noise_of(keys),
        "episodes and the opponents' heads": lambda: play(learner.params, state.buffers[0], noise),
        "actor update": lambda: actor(learner, episodes, heads),
        "Q update": lambda: q(learner, episodes),
        "(of that the target's policy)": lambda: policy(learner.target, seen),
    }
    for part in work.values():
        jax.block_until_ready(part())
    return {name: best(part) for name, part in work.items()}


def measure(name: str) -> None:
    """Print one setting's rows."""
    case = CASES[name]
    jax.config.update("jax_threefry_partitionable", False)
    hp = parse([*case.words.split(), "hp.eval_every=1000"]).hp
    trainer = training.Trainer(hp)
    state = late_state(trainer)
    step = jax.jit(trainer.advance, donate_argnums=0)
    compiling, _, (state, _) = spent(lambda: step(state, np.int32(1)))
    evaluation, _, (state, _) = spent(lambda state=state: step(state, np.int32(0)))
    rounds = []
    for _ in range(3):
        cpu, wall, (state, _) = spent(lambda state=state: step(state, np.int32(case.iterations)))
        rounds.append(((cpu - evaluation) / case.iterations, (wall - evaluation) / case.iterations))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    cpu, wall = min(rounds)
    limit = matrix_flops(hp) / peak_flops()
    print(case.about)
    print(
        f"  {cpu:.4f} CPU s per iteration ({wall:.4f} on the wall), original {case.released}: {case.released / cpu:.1f}x"
    )
    print(f"  peak memory {memory:.2f} GiB, original {case.released_memory} GB")
    print(
        f"  compilation and first iteration {compiling:.0f} CPU s; one evaluation (three opponents) {evaluation:.3f} s"
    )
    for part, seconds in parts(hp, state).items():
        print(f"    {part}: {seconds:.4f} s ({seconds / cpu:.0%})")
    print(
        f"  matrix products: {matrix_flops(hp) / 1e9:.2f} GFLOP, {limit:.4f} s at the peak of this core: the code takes "
        f"{cpu / limit:.1f} times that\n",
        flush=True,
    )


def main(names: list[str]) -> int:
    """`coin_speed.py` for every setting, `coin_speed.py readme` for one."""
    if len(names) == 1 and names[0] in CASES:
        os.environ.setdefault("NPROC", "1")  # one XLA thread; see `loqa.program.choose_device`
        jax.config.update("jax_platforms", "cpu")
        measure(names[0])
        return 0
    if names:
        print(f"unknown setting {names[0]}; there are {', '.join(CASES)}", file=sys.stderr)
        return 2
    return max(subprocess.run([sys.executable, __file__, name]).returncode for name in CASES)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
