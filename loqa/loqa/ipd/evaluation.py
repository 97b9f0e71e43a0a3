"""What `ipd.py` logs and prints of an evaluation (spec 5.9 and 6.1)."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from loqa.ipd.game import STATES, Episodes
from loqa.losses import Heads, advantages, state_values

#: so many episodes of the training batch go into the empirical policy
SHOWN = 128


class Training(NamedTuple):
    """What one iteration leaves behind for its evaluation; [L] are the learners, one in self-play."""

    q_loss: jax.Array  # [L]
    entropy: jax.Array  # [L]
    agent_norm: jax.Array  # [L] of the gradient of the agent's loss
    opponent_norm: jax.Array  # [L] of the shaping gradient
    rewards: jax.Array  # [2] mean reward per step of both seats in the first learner's episodes
    episodes: Episodes  # [T, B] of the first learner


class Report(NamedTuple):
    """An evaluation; axis [2] is the players, who are the same agent in self-play."""

    training: Training  # its episodes cut to the first `SHOWN`
    divergence: jax.Array  # [2, 2]: per player, KL(policy || softmax Q) and KL(softmax Q || policy)
    advantage: jax.Array  # [2] per player, mean over steps and episodes
    log_policy: jax.Array | None  # [2, 5, 2] by state; None for an agent with a longer memory
    q: jax.Array | None  # [2, 5, 2] by state, at t = 0


def divergences(heads: Heads) -> jax.Array:
    """[2]: KL(policy || softmax Q) and KL(softmax Q || policy), summed over time, averaged over episodes."""
    log_q = jax.nn.log_softmax(heads.q)

    def divergence(log_p, log_r):
        return jnp.mean(jnp.sum(jnp.exp(log_p) * (log_p - log_r), axis=(0, 2)))

    return jnp.stack([divergence(heads.log_probs, log_q), divergence(log_q, heads.log_probs)])


def evaluate(hp, agent, players, training: Training) -> Report:
    """Args: `players` the parameters of both players, who are looked at in the episodes of the last iteration."""
    episodes = training.episodes
    seats = episodes, episodes.swapped()
    heads = [agent.heads(params, seat.states()) for params, seat in zip(players, seats, strict=True)]
    advantage = [
        jnp.mean(advantages(hp.objective, seat.rewards(hp.reward_offset), state_values(each)))
        for seat, each in zip(seats, heads, strict=True)
    ]
    shown = training._replace(episodes=Episodes(*(moves[:, :SHOWN] for moves in episodes)))
    tables = None, None
    if agent.memory_one:
        tables = (
            jnp.stack([agent.log_policy(params) for params in players]),
            jnp.stack([agent.q_table(params)[0] for params in players]),
        )
    return Report(shown, jnp.stack([divergences(each) for each in heads]), jnp.stack(advantage), *tables)


def _number(value) -> float | None:
    """The shortest decimal number that is read back as the same float32; None for NaN."""
    value = np.float32(value)
    return float(str(value)) if np.isfinite(value) else None


def empirical(episodes: Episodes) -> list[list[tuple[int, int]]]:
    """Per player and state, how often it was seen and how often the player cooperated there (NumPy)."""
    tables = []
    for own, other in ((episodes.own, episodes.other), (episodes.other, episodes.own)):
        after = 1 + 2 * own[:-1].astype(int) + other[:-1]
        states = np.concatenate([np.zeros_like(own[:1], int), after])
        tables.append(
            [(int((states == s).sum()), int((~own & (states == s)).sum())) for s in range(len(STATES))]
        )
    return tables


def row(iteration: int, report: Report) -> dict[str, Any]:
    """One line of ``metrics.jsonl`` (NumPy)."""
    training = report.training
    line: dict[str, Any] = {"iteration": iteration, "step": iteration}
    for player, (forward, backward) in enumerate(report.divergence):
        line |= {f"kl_q_logps_{player}": _number(forward), f"kl_logps_q_{player}": _number(backward)}
    line |= {f"advantage_{player}": _number(mean) for player, mean in enumerate(report.advantage)}
    for learner in range(len(training.q_loss)):
        line |= {
            f"loss_agent_{learner}_qvalue": _number(training.q_loss[learner]),
            f"agent{learner}_entropy": _number(training.entropy[learner]),
            f"grad_agent{learner}_norm": _number(training.agent_norm[learner]),
            f"grad_opponent{learner}_norm": _number(training.opponent_norm[learner]),
        }
    line |= {f"agent{player}_mean_rewards": _number(mean) for player, mean in enumerate(training.rewards)}
    if report.log_policy is not None:
        values = np.asarray(state_values(Heads(report.log_policy, report.q)))
        for player, state in np.ndindex(2, len(STATES)):
            name = f"{player}_{STATES[state]}"
            for action, letter in enumerate("CD"):
                line[f"qvalue_{name}_{letter}"] = _number(report.q[player, state, action])
                line[f"p_{name}_{letter}"] = _number(np.exp(report.log_policy[player, state, action]))
            line[f"value_{name}"] = _number(values[player, state])
    for player, table in enumerate(empirical(training.episodes)):
        for state, (seen, cooperated) in zip(STATES, table, strict=True):
            line[f"{player}_{state}_C"] = _number(cooperated / seen) if seen else None
    line["first_episode"] = "".join(
        "CD"[int(own)] + "CD"[int(other)] + " " for own, other in _moves(training)
    ).strip()
    return line


def _moves(training: Training):
    return zip(training.episodes.own[:, 0], training.episodes.other[:, 0], strict=True)


def show(line: dict[str, Any]) -> str:
    """What a person sees of a line of the log."""

    def text(value) -> str:
        return "     -" if value is None else f"{value:6.3f}"

    steps = line["first_episode"].split()
    counts = ", ".join(f"{step} {steps.count(step)}" for step in STATES[1:])
    lines = [
        "*" * 10,
        f"iteration: {line['iteration']}",
        " ".join(f"{name}: {text(line[name])}" for name in line if name.startswith("kl_")),
    ]
    for learner in (0, 1):
        if f"loss_agent_{learner}_qvalue" in line:
            lines.append(
                f"agent {learner}: q loss {text(line[f'loss_agent_{learner}_qvalue'])}, "
                f"entropy {text(line[f'agent{learner}_entropy'])}, "
                f"gradient norms {text(line[f'grad_agent{learner}_norm'])} (agent) "
                f"{text(line[f'grad_opponent{learner}_norm'])} (shaping)"
            )
    for player in (0, 1):
        lines.append(
            f"player {player}: mean reward {text(line[f'agent{player}_mean_rewards'])}, "
            f"mean advantage {text(line[f'advantage_{player}'])}"
        )
        for state in STATES:
            found = f"  {state:5} played C {text(line[f'{player}_{state}_C'])}"
            if f"p_{player}_{state}_C" in line:
                name = f"{player}_{state}"
                found += (
                    f"  p(C) {text(line[f'p_{name}_C'])}  Q(C) {text(line[f'qvalue_{name}_C'])}"
                    f"  Q(D) {text(line[f'qvalue_{name}_D'])}  V {text(line[f'value_{name}'])}"
                )
            lines.append(found)
    return "\n".join([*lines, f"first episode: {line['first_episode']}", f"counts: {counts}"])
