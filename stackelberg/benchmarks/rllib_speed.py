"""Seconds per iteration of the RLlib engine, beside what the spec measured of plain Ray 2.60 (section 12) and the original.

    python benchmarks/rllib_speed.py [iterations]

CPU seconds are taken too: other programs on the machine disturb them less than the wall clock.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import numpy as np
import torch

from stackerlberg.experiments import catalogue
from stackerlberg.launch import Ray
from stackerlberg.rllib import cluster

#: name -> (experiment, settings, what is asked for, what plain RLlib needed in the spec, the original as released)
CASES = {
    "PG leader, 13 episodes of 8 steps": (
        "smipd_nothiddenqueries_pg_pg", [], 0.06, "0.033 with 13 vector environments, 0.105 with one", 1.98,
    ),
    "PPO leader, 67 episodes of 15 steps, 30 epochs": (
        "ipd_allmatrices_ppo_pg",
        [("common_config.env_config.matrix_name", "prisoners_dilemma")],
        1.1,
        "1.06",
        12.9,
    ),
    "SimpleQ leader, 14 episodes of 8 steps, 7 updates on 1024 transitions": ("smipd_nothiddenqueries_dqn_pg", [], None, "0.43 (DQN)", None),
}  # fmt: skip


def measure(experiment: str, settings: Sequence, iterations: int) -> tuple[float, float]:
    """Wall and CPU seconds of a leader iteration, the best of five parts after a warm-up."""
    from stackerlberg.rllib.session import seed_everything
    from stackerlberg.rllib.setting import Setting

    cluster.quiet()  # once more: importing RLlib has set its loggers
    torch.set_num_threads(1)  # as every session does
    setting = Setting(catalogue.resolve(experiment, settings).conditions[0].configuration)
    trainer = setting.trainer_for("agent_0")
    drawn = np.random.default_rng(0)
    trainer.hand_over({agent: setting.fresh(agent, drawn) for agent in setting.agents})
    seed_everything(0)
    for _ in range(3):
        trainer.train()
    parts = []
    for _ in range(5):
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(max(1, iterations // 5)):
            trainer.train()
        count = max(1, iterations // 5)
        parts.append(((time.perf_counter() - wall) / count, (time.process_time() - cpu) / count))
    trainer.stop()
    return min(part[0] for part in parts), min(part[1] for part in parts)


def main(argv: Sequence[str]) -> int:
    iterations = int(argv[0]) if argv else 50
    with cluster.started(Ray()):
        print("| iteration | wall s | CPU s | asked | spec 12, plain RLlib 2.60 | original as released |")
        print("|---|---|---|---|---|---|")
        for name, (experiment, settings, asked, plain, released) in CASES.items():
            wall, cpu = measure(experiment, settings, iterations)
            wanted = "-" if asked is None else f"{asked}"
            print(f"| {name} | {wall:.3f} | {cpu:.3f} | {wanted} | {plain} | {released or '-'} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
