"""What two agents of the contribution game do after short histories (`--inspect_ipd`)."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from pola.dice.contribution_game import ContributionState
from pola.dice.learner import code_table
from pola.dice.networks import Params, unroll
from pola.dice.training import make_game

_LETTERS = "DC"


def cooperation(config, policies: Params) -> np.ndarray:
    """Probability of cooperation [agent 2, history 16, step 3] at the start and after one and two joint actions.

    Args: `policies` with a leading axis of 2. History 4 a + b is joint action a, then b, in the order DD, DC,
    CD, CC (first letter: agent 1).
    """
    env = make_game(config)
    pairs = np.array(list(itertools.product((0, 1), repeat=2)), np.int32)
    histories = np.array(list(itertools.product(range(4), repeat=2)), np.int32).T  # [2, 16]
    start = env.reset(jax.random.PRNGKey(0), histories.shape[1])
    first = jnp.concatenate([start.first[None], jnp.asarray(pairs[histories][..., 0])])
    second = jnp.concatenate([start.second[None], jnp.asarray(pairs[histories][..., 1])])
    codes = env.codes(env.observe(ContributionState(first, second)))
    logits = jax.vmap(lambda policy: unroll(policy, codes, code_table(env)))(policies)
    return np.asarray(jax.nn.softmax(logits)[..., 1]).transpose(0, 2, 1)


def describe(config, policies: Params) -> str:
    """`cooperation` as a table of text."""
    chance = cooperation(config, policies)
    names = ["".join(pair) for pair in itertools.product(_LETTERS, repeat=2)]
    lines = ["Probability of cooperation of agents 1 and 2:"]
    lines.append("  at the start   " + "  ".join(f"{value:.4f}" for value in chance[:, 0, 0]))
    for number, (one, two) in enumerate(itertools.product(names, repeat=2)):
        if two == names[0]:
            lines.append(
                f"  after {one}       " + "  ".join(f"{value:.4f}" for value in chance[:, number, 1])
            )
        lines.append(f"  after {one}, {two}   " + "  ".join(f"{value:.4f}" for value in chance[:, number, 2]))
    return "\n".join(lines)
