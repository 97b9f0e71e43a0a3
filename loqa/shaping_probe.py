"""Where the shaping gradient of the prisoner's dilemma points, for a uniform policy and a Q head trained in several ways.

Prints, for each state, the direction of ascent on the logit of cooperation: the shaping part and the agent's own part.
Positive means towards cooperation. Reciprocity is positive after the other's cooperation and negative after its defection.
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence

import ipd
import jax
import numpy as np

from common.cli import StrictParser, UserError, run_main
from loqa import losses, program
from loqa.ipd.config import parse

README = (
    "hp=logits hp.game_length=50 hp.qvalue.mode=mean hp.qvalue.train.lr_loss_qvalue=1e-2 hp.epsilon_greedy=0.2 "
    "hp.agent_replay_buffer.mode=disabled hp.qvalue.replay_buffer.mode=disabled hp.rng_mode=fresh"
)
VERSIONS = {
    "as released": "",
    "advantage centred": "hp.actor.train.centre_advantage=true",
    "Monte-Carlo Q": "hp.qvalue.target=monte-carlo",
    "Monte-Carlo Q, advantage centred": "hp.qvalue.target=monte-carlo hp.actor.train.centre_advantage=true",
    "t/T, rewards + 1.5": "hp.qvalue.time_input=scaled hp.reward_offset=1.5",
}
STATES = ("START", "CC", "CD", "DC", "DD")
ROWS = ("start", "CC", "CD", "DC", "DD")


def _parser() -> argparse.ArgumentParser:
    parser = StrictParser(prog="shaping_probe.py", description=__doc__.splitlines()[0])
    parser.add_argument("--updates", type=int, default=1500, help="of the Q head, the policy staying uniform")
    parser.add_argument("--batches", type=int, default=64, help="that the gradients are averaged over")
    parser.add_argument("--batch_size", type=int, default=512, help="episodes in each")
    parser.add_argument("--seed", type=int, default=42)
    return parser


def probe(words: str, options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray, float]:
    """Directions [5] of the shaping and of the agent's own part, and the mean advantage, for a uniform policy."""
    size = (
        f"hp.batch_size={options.batch_size} hp.seed={options.seed} hp.actor.train.freeze={options.updates}"
    )
    launch = parse([*f"{README} {words} {size}".split(), "--device", "cpu"])
    program.choose_device(launch.device, **dataclasses.asdict(launch.jax))
    trainer = ipd.Trainer(launch.hp)
    state = jax.jit(trainer.fresh)(np.uint32(options.seed))
    learner = jax.jit(trainer.advance)(state, np.int32(options.updates))[0].learners[0]

    def one(key):
        (chance,) = trainer.chances(key, recorded=False)
        me = ipd.Player(trainer.agent, learner.params)
        played = ipd.play(me, me, chance)

        def part(name):
            def loss(params):
                return getattr(ipd.actor_losses(launch.hp, trainer.agent, params, me, played), name)

            rows = jax.grad(loss)(learner.params)["params"]["actor_head"]
            return -jax.numpy.stack([rows[row][0] for row in ROWS])

        values = losses.state_values(trainer.agent.heads(learner.params, played.states()))
        gained = losses.advantages(launch.hp.objective, played.rewards(launch.hp.reward_offset), values)
        return part("opponent"), part("agent"), gained.mean()

    shaping, own, gained = jax.lax.map(
        one, jax.random.split(jax.random.PRNGKey(options.seed), options.batches)
    )
    return shaping.mean(0), own.mean(0), float(gained.mean())


def body(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    options = _parser().parse_args(argv)
    for name in ("updates", "batches", "batch_size"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name} {getattr(options, name)}; it has to be at least 1")
    print(f"{'':34} {'advantage':>9}   {'part':8}" + "".join(f"{state:>8}" for state in STATES))
    for name, words in VERSIONS.items():
        shaping, own, gained = probe(words, options)
        for part, values in (("shaping", shaping), ("own", own)):
            label = f"{name:34} {gained:+9.3f}" if part == "shaping" else " " * 44
            print(f"{label}   {part:8}" + "".join(f"{value:+8.3f}" for value in values), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(run_main(body, program="shaping_probe.py"))
