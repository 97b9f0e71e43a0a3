"""Exact referees: every learned number in a figure stands beside one of these.

NumPy only, vectorised over tables and leading axes; all games of the paper together take seconds.
"""

from .commitment import (
    Commitment,
    ProtocolOptimum,
    exact_followers,
    protocol_optimum,
    protocol_value,
    stochastic_commitment,
)
from .responses import (
    BestResponses,
    Regret,
    best_responses,
    certify,
    follower_regret,
    stochastic_leader_value,
    time_aware_returns,
)
from .returns import deterministic_returns, one_hot, policy_returns, returns_and_gradients
from .stackelberg import (
    Enumeration,
    MixedCommitment,
    OneShot,
    Optimum,
    enumerate_leaders,
    one_shot,
    stackelberg_value,
)

__all__ = [
    "BestResponses",
    "Commitment",
    "Enumeration",
    "MixedCommitment",
    "OneShot",
    "Optimum",
    "ProtocolOptimum",
    "Regret",
    "best_responses",
    "certify",
    "deterministic_returns",
    "enumerate_leaders",
    "exact_followers",
    "follower_regret",
    "one_hot",
    "one_shot",
    "policy_returns",
    "protocol_optimum",
    "protocol_value",
    "returns_and_gradients",
    "stackelberg_value",
    "stochastic_commitment",
    "stochastic_leader_value",
    "time_aware_returns",
]
