"""Stackelberg equilibria with oracles and followers (ICML 2023): the library's public names.

Environments are in `stackerlberg.envs`, exact referees in `stackerlberg.exact`, the fast engine in
`stackerlberg.batched`.
"""

from .games import Game, named_game
from .leaders import Leader
from .library import Evaluation, Solution, ablate, evaluate, solve
from .markov import MarkovGame, best_response, markov_returns, repeated
from .oracles import (
    Conditions,
    ContextualOracle,
    EvolutionOracle,
    ExactOracle,
    Oracle,
    PolicyGradientOracle,
    TabularQOracle,
)
from .protocol import Protocol

__all__ = [
    "Conditions",
    "ContextualOracle",
    "Evaluation",
    "EvolutionOracle",
    "ExactOracle",
    "Game",
    "Leader",
    "MarkovGame",
    "Oracle",
    "PolicyGradientOracle",
    "Protocol",
    "Solution",
    "TabularQOracle",
    "ablate",
    "best_response",
    "evaluate",
    "markov_returns",
    "named_game",
    "repeated",
    "solve",
]
