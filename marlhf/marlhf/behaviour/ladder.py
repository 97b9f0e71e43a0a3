"""A ladder of agents from one training: snapshots whose measured skill is nearest to the published agents' (Q12).

Skill is s = (R - R_random) / (R_best - R_random), R the greedy per-agent return of an episode and the two references
the published ones (specification, section 8.2), so that 1 is the published expert, 0 uniform play, and -0.78 Spread's
published `trivial`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from common import checkpoints
from common.cli import UserError

from .. import agents
from ..environments import Task
from ..skill import SCALES
from . import vdn

WHILE_TRAINING, FINAL = 512, 1024  # episodes of a measurement
EARLY = 200  # updates after which every snapshot is measured: the barely trained agents pass here


@dataclass(frozen=True)
class Rung:
    """A snapshot kept for a label: its parameters, the return that it was chosen by, and when it was taken."""

    params: Any
    value: float
    updates: int


class Ladder:
    """The snapshots of a training that are nearest to the targets so far.

    Raises: UserError when the task has no published skills (Overcooked's are in `ippo`).
    """

    def __init__(self, task: Task, settings: vdn.ExpertSettings):
        self.task, self.settings = task, settings
        environment = agents.folder_name(task)
        if environment not in SCALES:
            raise UserError(f"{environment} has no targets of skill; there are {', '.join(SCALES)}")
        self.scale = SCALES[environment]
        tenths = {f"skill {s / 10:+.1f}": self.scale.at(s / 10) for s in range(-10, 11)}
        self._targets = {**self.scale.returns, **tenths, "best": self.scale.at(100.0)}
        self.rungs: dict[str, Rung] = {}
        self._measure = jax.jit(
            lambda params, key: vdn.test_returns(settings, task, params, key, WHILE_TRAINING, 0.0)
        )

    def consider(self, params: Any, updates: int) -> float:
        """Measure a snapshot on `WHILE_TRAINING` greedy episodes and keep it where it is nearest; its return.

        Kept are the nearest to every label's published return and to every tenth of skill, and the best. The episodes
        are the same for all snapshots of a training, so that their order is less a matter of luck.
        """
        value, kept = float(self._measure(params, jax.random.PRNGKey(512)).mean()), None
        for name, target in self._targets.items():
            rung = self.rungs.get(name)
            if rung is None or abs(value - target) < abs(rung.value - target):
                kept = jax.device_get(params) if kept is None else kept
                self.rungs[name] = Rung(kept, value, updates)
        return value

    def chosen(self) -> dict[str, Rung]:
        """The rung of every label, best first.

        A training that stays more than a tenth of skill below the published expert has the labels' distances above
        uniform play shrunk by what its best reached, so that five different agents remain.
        """
        best = max(rung.value for rung in self.rungs.values())
        reached = min(1.0, self.scale.skill(best))
        found = {}
        for label, value in self.scale.returns.items():
            skill = self.scale.skill(value)
            if 0 < reached < 0.9 and skill > 0:
                skill *= reached
                nearest = min(self.rungs.values(), key=lambda rung: abs(self.scale.skill(rung.value) - skill))
            else:
                nearest = self.rungs[label]
            found[label] = nearest
        return found

    def arrays(self) -> dict[str, np.ndarray]:
        """All rungs as named arrays."""
        tree = {
            label: {**rung.params, "value": np.float64(rung.value), "updates": np.int64(rung.updates)}
            for label, rung in self.rungs.items()
        }
        return traverse_util.flatten_dict(tree, sep="/")

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take the rungs of `arrays`."""
        for label, tree in traverse_util.unflatten_dict(dict(arrays), sep="/").items():
            value, updates = float(tree.pop("value")), int(tree.pop("updates"))
            self.rungs[label] = Rung(tree, value, updates)

    def write(self, folder: Path, trained: Mapping[str, Any]) -> list[agents.AgentMeta]:
        """Measure the chosen rungs on `FINAL` fresh episodes, greedy and with epsilon 0.05, and write
        ``folder/<environment>/<label>.safetensors``.

        Args: `trained` goes into every file: how the training was done.
        Returns: what the files say, best label first; `ordered` says whether they are in strict order.
        """
        target = folder / agents.folder_name(self.task)
        network = vdn.network_of(self.settings, self.task)
        random = measured(uniform_returns(self.task, jax.random.PRNGKey(1025), FINAL))
        both = jax.jit(
            lambda params, key: [
                vdn.test_returns(self.settings, self.task, params, key, FINAL, epsilon)
                for epsilon in (0.0, 0.05)
            ]
        )
        metas = []
        for label, rung in self.chosen().items():
            greedy, noisy = (measured(values) for values in both(rung.params, jax.random.PRNGKey(1024)))
            meta = agents.AgentMeta(
                kind="q",
                environment=self.task.name,
                kwargs=dict(self.task.kwargs),
                label=label,
                role="behaviour",
                n_actions=self.task.n_actions,
                hidden=network.hidden,
                inputs=self.task.obs_size + self.task.n_agents,
                returns={"greedy": greedy, "eps0.05": noisy},
                random=random.mean,
                skill=self.scale.skill(greedy.mean),
                trained={**trained, "updates": rung.updates, "settings": asdict(self.settings)},
            )
            agents.save_agent(target / f"{label}.safetensors", rung.params, meta)
            metas.append(meta)
        return metas


def ordered(metas: list[agents.AgentMeta]) -> bool:
    """Whether the five columns of the mixes are strictly better from left to right, greedy."""
    means = {meta.label: meta.returns["greedy"].mean for meta in metas}
    columns = [means[label] for label in agents.LABELS if label in means]
    return all(better > worse for better, worse in zip(columns, columns[1:], strict=False))


def measured(values: jax.Array) -> agents.Measured:
    """Mean and standard error of returns `[episodes]`."""
    values = np.asarray(values, np.float64)
    return agents.Measured(float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5), len(values))


def uniform_returns(task: Task, key: jax.Array, episodes: int) -> jax.Array:
    """Per-agent returns `[episodes]` of uniformly random actions."""
    settings = vdn.ExpertSettings(agent_hidden_dim=1)
    network = vdn.network_of(settings, task)
    shapes = (
        network.initial_carry(1),
        jnp.zeros((1, 1, task.obs_size + task.n_agents)),
        jnp.zeros((1, 1), bool),
    )
    return jax.jit(lambda params: vdn.test_returns(settings, task, params, key, episodes, 1.0))(
        network.init(key, *shapes)
    )


def train_ladder(
    task: Task,
    settings: vdn.ExpertSettings,
    seed: int,
    folder: Path,
    work: Path | None = None,
    say: Callable[[str], None] = print,
    seconds: float = float("inf"),
) -> list[agents.AgentMeta]:
    """Train until a snapshot is as good as the published expert, measuring on the way, and write the ladder's files.

    Args:
        folder: gets ``<environment>/<label>.safetensors``.
        work: a file to continue from and to keep up to date once a minute; none: nothing is kept.
        say: gets a line of progress now and then.
        seconds: stop early after so much time of this call and write what there is.

    Returns: what the files say, best label first.
    Raises: UserError on settings that don't fit the task, or a damaged `work`.
    """
    ladder, every = Ladder(task, settings), settings.test_every
    advance = {
        n: jax.jit(lambda state, n=n: vdn.advance(settings, task, state, n), donate_argnums=0)
        for n in (1, every)
    }
    state = vdn.fresh(settings, task, seed)
    leaves, structure = jax.tree.flatten(state)
    if work is not None and work.exists():
        arrays, _ = checkpoints.load(work)
        leaves = [arrays.pop(f"state/{index}") for index in range(len(leaves))]
        state = jax.tree.unflatten(structure, [jnp.asarray(leaf) for leaf in leaves])
        ladder.restore(arrays)
    done, started, saved = int(state.updates), time.monotonic(), time.monotonic()

    def save():
        if work is not None:
            arrays = {f"state/{index}": np.asarray(leaf) for index, leaf in enumerate(jax.tree.leaves(state))}
            checkpoints.save(work, {**arrays, **ladder.arrays()}, {"updates": done})

    if done == 0:
        ladder.consider(state.params, 0)
    while done < settings.num_updates and time.monotonic() - started < seconds:
        n = 1 if done < EARLY else every
        state, report = advance[n](state)
        done += n
        value = ladder.consider(state.params, done)
        if value >= ladder.scale.returns["expert"]:
            break
        if time.monotonic() - saved > 60:
            save()
            saved = time.monotonic()
        if done % (every * 20) < n:
            say(
                f"{done}/{settings.num_updates} updates, loss {float(report.loss.mean()):.3f}, greedy {value:.2f}"
            )
    save()
    trained = {"algorithm": "VDN", "seed": seed, "transitions": settings.total_timesteps}
    if task.name == "tag":
        trained["prey"] = dict(task.kwargs).get("prey", "default")
    metas = ladder.write(folder, trained)
    for meta in metas:
        say(f"{meta.label}: greedy {meta.returns['greedy'].mean:.2f}, skill {meta.skill:.2f}")
    if not ordered(metas):
        say("the five labels are not in strict order: train longer or with another seed")
    return metas
