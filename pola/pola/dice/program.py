"""The program behind `POLA_dice_jax.py`: run folders, printing, checkpoints; the learning is in `training`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from common import tracking
from common.cli import UserError
from common.progress import Progress
from common.runs import RunFolder, RunSpec, source_digest
from pola.dice import inspection, storage, training
from pola.dice.config import Config
from pola.dice.scripted import KINDS

SCRIPT = "jax_files/POLA_dice_jax.py"
#: a run is also saved when so many seconds have passed since it last was
CHECKPOINT_SECONDS = 300.0


@dataclass
class Lane:
    """One seed of a process."""

    seed: int
    run: RunFolder
    state: Any  # training.State
    epoch: int
    saved: float = 0.0  # when the run folder was last brought up to date


def choose_device(wanted: str) -> str:
    """Settle JAX's platform; returns `cpu` or the accelerator's name.

    On a CPU, XLA gets one thread unless NPROC says otherwise: with two, jaxlib 0.10.2 deadlocks in the evaluation at
    B 400, T 50, H 64. Several cores are for several processes (`make reproduce-...` starts one a core).

    Raises: UserError when it is not there.
    """
    os.environ.setdefault("NPROC", "1")
    if wanted != "auto":
        jax.config.update("jax_platforms", wanted)
    try:
        return jax.default_backend()
    except (RuntimeError, AssertionError):  # JAX raises either, depending on what is missing
        raise UserError(
            f"--device {wanted} can't be used: JAX finds no such device here; --device cpu always works"
        ) from None


def next_stop(config: Config, epoch: int) -> int:
    """The next epoch that is evaluated after `epoch`."""
    return min(config.n_update, (epoch // config.eval_every + 1) * config.eval_every)


def due(epoch: int, every: int, config: Config) -> bool:
    """Whether `epoch`, which was just evaluated, is the first one evaluated at or after a multiple of `every`."""
    before = epoch - 1 if epoch % config.eval_every else epoch - config.eval_every
    before = before // config.eval_every * config.eval_every
    return epoch == 0 or epoch // every > before // every


def _number(value) -> float | int | None:
    """A scalar as the shortest decimal number that is read back as the same float32."""
    value = np.asarray(value)
    return int(value) if value.dtype.kind in "iu" else float(str(value))


def _list(values) -> list:
    return [_number(value) for value in np.asarray(values)]


def environment_steps(config: Config) -> int:
    """Environment steps that learning takes per epoch, both agents, opponent models included.

    The figures' axes count outer steps only, as the paper's do; this number is logged beside them.
    """
    rollouts = config.outer_steps * (config.inner_steps + 1)
    if config.opp_model:
        rollouts += config.opp_model_data_batches
    return 2 * rollouts * config.rollout_len * config.batch_size


def make_row(config: Config, epoch: int, report) -> dict[str, Any]:
    """One line of the log from a `training.Report` of one seed (arrays of NumPy)."""
    scores, training_logs = report.scores, report.training
    row = {
        "epoch": epoch,
        "outer_steps": epoch * config.outer_steps,
        "env_steps": epoch * environment_steps(config),
        "score": _list(scores.score),
    }
    row |= {kind: _list(scores.scripted[:, column]) for column, kind in enumerate(KINDS)}
    if config.env == "coin":
        rr, rb, br, bb = map(_number, scores.picked)
        row |= {"same": rr + bb, "diff": rb + br, "rr": rr, "rb": rb, "br": br, "bb": bb}
    seen = {
        "kl": training_logs.divergence,
        "value_loss": training_logs.value_loss,
        "grad_norm": training_logs.policy_gradient_norm,
        "value_grad_norm": training_logs.value_gradient_norm,
        "shaping_norm": training_logs.shaping_norm,
        "inner_shift": training_logs.inner_shift,
    }
    if report.modelling is not None:
        seen |= {
            "om_cross_entropy": report.modelling.cross_entropy,
            "om_value_loss": report.modelling.value_loss,
        }
    row |= {name: _list(value) if epoch else None for name, value in seen.items()}
    if config.outer_beta == 0 and config.outer_steps > 1:
        row["kl"] = None  # not computed where it has no weight; with one outer step it is 0
    if config.no_baseline:
        row["value_loss"] = row["value_grad_norm"] = None
    return row


def print_scores(config: Config, row: dict[str, Any], seed: int) -> None:
    """What a person sees of one evaluation."""
    print("*" * 10)
    print(f"Epoch: {row['epoch']}" + (f" (seed {seed})" if len(config.seeds) > 1 else ""))
    for agent, score in enumerate(row["score"], 1):
        print(f"Score for Agent {agent}: {score:.6f}")
    if config.env == "coin":
        labels = {"same": "Same", "diff": "Diff", "rr": "RR", "rb": "RB", "br": "BR", "bb": "BB"}
        for name, label in labels.items():
            print(f"{label} coins: {row[name]:.4f}")
    for agent in (0, 1):
        versus = " ".join(f"{row[kind][agent]:.6f}" for kind in KINDS)
        print(f"Scores for Agent {agent + 1} vs ALLD, ALLC, TFT: [{versus}]")


def _open_lanes(config: Config, script: Path, device: str, fresh, mirrors: ExitStack) -> list[Lane]:
    repository = script.resolve().parents[2]
    root = Path(config.run_root) if config.run_root else repository / "results" / "pola" / "runs"
    digest = source_digest(script, [repository / "pola", repository])
    command = [SCRIPT, *sys.argv[1:]]
    mode, lanes = tracking.chosen_mode(), []
    for seed in config.seeds:
        first = storage.load(config, fresh(seed)) if config.load_prefix else None
        run = RunFolder.open(root, RunSpec(SCRIPT, config.identity(seed), digest), command, device)
        if run.finished:
            print(f"seed {seed}: finished before, see {run.path}")
            continue
        mirrors.enter_context(tracking.mirrored(run, mode, project="pola"))
        saved = run.restore()
        if saved:
            state = storage.from_arrays(fresh(seed), saved.arrays, f"the checkpoint in {run.path}")
            lanes.append(Lane(seed, run, state, saved.step))
            print(f"seed {seed}: going on after epoch {saved.step}")
        elif first:
            state, epoch, rows = first
            for row in rows:
                run.log(row)
            lanes.append(Lane(seed, run, state, epoch))
            print(f"seed {seed}: starting from {config.load_prefix}, after epoch {epoch}")
        else:
            lanes.append(Lane(seed, run, fresh(seed), -1))
    return lanes


def _record(config: Config, lane: Lane, report, state) -> None:
    """Log, print and save one lane after an evaluation; `report` holds NumPy arrays."""
    row = make_row(config, lane.epoch, report)
    lane.run.log(row)
    if due(lane.epoch, config.print_every, config):
        print_scores(config, row, lane.seed)
        if config.inspect_ipd:
            print(inspection.describe(config, training.policies_of(state)))
        sys.stdout.flush()
    last = lane.epoch == config.n_update
    regular = last or (lane.epoch > 0 and due(lane.epoch, config.checkpoint_every, config))
    if regular or time.monotonic() - lane.saved > CHECKPOINT_SECONDS:
        lane.run.checkpoint(lane.epoch, storage.to_arrays(state))
        lane.saved = time.monotonic()
    if regular and config.save_dir is not None:
        storage.save(config, lane.seed, lane.epoch, state, lane.run.metrics())
    lane.run.progress(lane.epoch, config.n_update)


def _goal(config: Config, lane: Lane) -> int:
    """The epoch at which the lane is evaluated next (-1: it has not even been evaluated before training)."""
    return 0 if lane.epoch < 0 else next_stop(config, lane.epoch)


def _loop(config: Config, env, lanes: Sequence[Lane], shown) -> None:
    """One lane after the other, one compiled program for all."""
    step = training.make_advance(config, env)
    while waiting := [lane for lane in lanes if lane.epoch < config.n_update]:
        for lane in waiting:
            goal = _goal(config, lane)
            lane.state, report = step(lane.state, np.int32(goal - max(lane.epoch, 0)))
            lane.epoch = goal
            _record(config, lane, jax.tree.map(np.asarray, report), lane.state)
            shown()


def _batch(config: Config, env, lanes: Sequence[Lane], shown) -> None:
    """All lanes side by side; one that is ahead after a resume waits for the others (it is given 0 epochs)."""
    step = training.make_advance(config, env, len(lanes))
    state = jax.tree.map(lambda *leaves: jax.numpy.stack(leaves), *(lane.state for lane in lanes))
    while waiting := [lane for lane in lanes if lane.epoch < config.n_update]:
        goal = min(_goal(config, lane) for lane in waiting)
        moving = [lane for lane in waiting if _goal(config, lane) == goal]
        epochs = [goal - max(lane.epoch, 0) if lane in moving else 0 for lane in lanes]
        state, report = step(state, np.array(epochs, np.int32))
        whole, reports = jax.device_get((state, report))
        for number, lane in enumerate(lanes):
            if lane in moving:
                lane.epoch = goal
                own, seen = jax.tree.map(lambda leaf, number=number: leaf[number], (whole, reports))
                _record(config, lane, seen, own)
        shown()


def run(config: Config, script: Path) -> int:
    """Train every seed of `config`; resumes what was interrupted and repeats nothing that is finished.

    Args: `script` the entry point, whose imports (and its own text) are part of a run's address.
    """
    with ExitStack() as mirrors:
        return _train(config, script, mirrors)


def _train(config: Config, script: Path, mirrors: ExitStack) -> int:
    device = choose_device(config.device)
    config = training.resolve_axes(config, device)
    env = training.make_game(config)
    make_state = jax.jit(lambda seed: training.initial_state(config, env, seed))
    lanes = _open_lanes(config, script, device, lambda seed: make_state(np.uint32(seed)), mirrors)
    if not lanes:
        return 0
    print(
        f"start iterations with {config.inner_steps} inner steps and {config.outer_steps} outer steps:",
        flush=True,
    )
    bar = Progress("POLA_dice_jax", config.n_update * len(lanes))
    for lane in lanes:
        lane.saved = time.monotonic()

    def shown() -> None:
        bar.update(sum(max(lane.epoch, 0) for lane in lanes))

    work = _batch if config.seed_axis == "vmap" and len(lanes) > 1 else _loop
    work(config, env, lanes, shown)
    for lane in lanes:
        lane.run.finish({"epochs": config.n_update, "last": lane.run.metrics()[-1]})
    bar.close()
    return 0
