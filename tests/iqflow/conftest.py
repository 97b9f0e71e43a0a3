"""What IQ-Flow's tests share: recorded cases, and no silent promotion of ranks."""

import jax
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def strict_ranks():
    with jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture(scope="session", autouse=True)
def compiled_programs(compiled_once):
    """Programs are compiled once."""


@pytest.fixture(scope="session")
def agents_file():
    """`agents_file(folder, config, alg, exp)`: agents whose parameters are all 0, so every action is equally likely and
    every incentive half of the largest."""
    from iqflow.config.loading import read_tree, resolve
    from iqflow.trainer import storage
    from iqflow.trainer.training import Trainer

    def made(folder, config, alg, exp):
        settings = resolve(config, read_tree(config), alg, exp)
        trainer = Trainer(settings)
        shapes = jax.eval_shape(trainer.agents, jax.eval_shape(trainer.fresh, np.uint32(0)))
        agents = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
        meta = {"alg": alg, "exp": exp, "config": settings.tree(), "seed": 1}
        return storage.save_agents(folder, 7, agents, meta, keep=1)

    return made
