"""Every 2 x 2 game that a paper here plays, in one table, and exact values of memory-one policies.

The papers number the actions differently: in POLA's contribution game action 0 is *defect*, in the prisoner's
dilemmas of LOQA, IQ-Flow and Stackelberg it is *cooperate*. So `MatrixGame.actions` names them in index order,
and a memory-one policy is always the probability of **action 1** in the five states (0,0), (0,1), (1,0), (1,1),
start, where the first digit is player 1's last action *for both players*. For POLA: DD, DC, CD, CC, start.
MARLHF plays no matrix game.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True, eq=False)
class MatrixGame:
    """A 2 x 2 game.

    Attributes:
        name: its key in `GAMES`, ``paper/name``.
        actions: the two actions in index order; both players have the same.
        payoffs: ``[2, 2, 2]`` = row player's action, column player's action, player; read-only.
        normalisation: what a payoff is measured in, and what the paper's environment adds to it.
        source: where it is defined.
    """

    name: str
    actions: tuple[str, str]
    payoffs: np.ndarray
    normalisation: str
    source: str

    def __post_init__(self):
        payoffs = _payoff_array(self.payoffs).copy()
        payoffs.setflags(write=False)
        object.__setattr__(self, "payoffs", payoffs)

    @property
    def states(self) -> tuple[str, str, str, str, str]:
        """A memory-one policy's states in index order, by the actions' initials: ``DD DC CD CC start``."""
        first, second = (action[0].upper() if action[0].isalpha() else action[-1] for action in self.actions)
        return (first + first, first + second, second + first, second + second, "start")


def _payoff_array(payoffs: ArrayLike | MatrixGame) -> np.ndarray:
    array = np.asarray(payoffs.payoffs if isinstance(payoffs, MatrixGame) else payoffs, dtype=np.float64)
    if array.shape != (2, 2, 2):
        raise ValueError(f"payoffs must be [2, 2, 2] = row action, column action, player, not {array.shape}")
    return array


def contribution_game(cf: float) -> MatrixGame:
    """POLA's prisoner's dilemma: a player gets ``cf * contributors / 2``, less 1 if it contributed itself.

    Raises:
        ValueError: `cf` is not strictly between 1 and 2, where the game is no dilemma.
    """
    if not 1 < cf < 2:
        raise ValueError(f"the contribution factor must lie strictly between 1 and 2, not {cf}")
    row = np.array([[0.0, cf / 2], [cf / 2 - 1, cf - 1]])
    return MatrixGame(
        name=f"pola/contribution-{cf:g}",
        actions=("defect", "cooperate"),
        payoffs=np.stack([row, row.T], axis=-1),
        normalisation=f"contribution factor {cf:g}: payoff {cf:g} * contributors / 2 - own contribution",
        source="Zhao et al. 2022, contribution game (POLA spec 3.1)",
    )


def penalty_game(x: float = 2.0, miss: float = -5.0) -> MatrixGame:
    """Stackelberg's one-shot coordination game: the leader gets `x` or 1 on the diagonal, `miss` off it."""
    return MatrixGame(
        name=f"stackelberg/penalty_game-x{x:g}-miss{miss:g}",
        actions=("action 0", "action 1"),
        payoffs=np.array([[(x, 0.001), (miss, 0)], [(miss, 0), (1, 2)]]),
        normalisation="raw payoffs, no offset; one step",
        source="Gerstgrasser and Parkes 2023, experiment bots_dqn_tabularq_out_of_eq (Stackelberg spec 2.4)",
    )


def _published_games() -> Mapping[str, MatrixGame]:
    raw, unnamed = "raw payoffs, no offset", ("action 0", "action 1")
    coop, stag, dare = ("cooperate", "defect"), ("stag", "hare"), ("cautious", "dare")

    def game(
        name: str, actions: tuple[str, str], rows: Sequence, normalisation: str, source: str
    ) -> MatrixGame:
        return MatrixGame(name, actions, np.array(rows), normalisation, source)

    ipd = "average per step; no offset, so mutual defection is worth -2 and mutual cooperation -1"
    games = [contribution_game(cf) for cf in (1.1, 1.25, 1.33, 1.4, 1.6)]
    games += [penalty_game(x, missed) for x in (2, 1.5) for missed in (-5, 0)]
    games.append(game("loqa/ipd", coop, [[(-1, -1), (-3, 0)], [(0, -3), (-2, -2)]], ipd, "LOQA spec 3.1"))
    for name, actions, rows in (
        ("ipd", coop, [[(3, 3), (0, 4)], [(4, 0), (1, 1)]]),
        ("chicken", coop, [[(3, 3), (1, 4)], [(4, 1), (0, 0)]]),
        ("stag_hunt", coop, [[(4, 4), (0, 3)], [(3, 0), (1, 1)]]),
    ):
        games.append(
            game(f"iqflow/{name}", actions, rows, raw + "; incentives come on top", "IQ-Flow spec 3.1")
        )
    for name, actions, rows in (
        ("prisoners_dilemma", coop, [[(3, 3), (1, 4)], [(4, 1), (2, 2)]]),
        ("stag_hunt", stag, [[(4, 4), (1, 3)], [(3, 1), (2, 2)]]),
        ("assurance", unnamed, [[(4, 4), (1, 2)], [(2, 1), (3, 3)]]),
        ("coordination", unnamed, [[(4, 4), (2, 1)], [(1, 2), (3, 3)]]),
        ("mixedharmony", unnamed, [[(4, 4), (3, 1)], [(1, 3), (2, 2)]]),
        ("harmony", unnamed, [[(4, 4), (3, 2)], [(2, 3), (1, 1)]]),
        ("noconflict", unnamed, [[(4, 4), (2, 3)], [(3, 2), (1, 1)]]),
        ("deadlock", unnamed, [[(2, 2), (1, 4)], [(4, 1), (3, 3)]]),
        ("prisoners_delight", unnamed, [[(1, 1), (2, 4)], [(4, 2), (3, 3)]]),
        ("hero", unnamed, [[(1, 1), (3, 4)], [(4, 3), (2, 2)]]),
        ("battle", unnamed, [[(2, 2), (3, 4)], [(4, 3), (1, 1)]]),
        ("chicken", dare, [[(3, 3), (2, 4)], [(4, 2), (1, 1)]]),
        ("modified_prisoners_dilemma", coop, [[(4, 3), (2, 4)], [(3, 1), (1, 2)]]),
    ):
        offset = "ordinal payoffs 1 to 4; the repeated environments add a reward offset of -2.5 per step"
        games.append(game(f"stackelberg/{name}", actions, rows, offset, "Stackelberg spec 3.1"))
    for name, rows, experiment in (
        ("battle_of_the_sexes", [[(2, 1), (0, 0)], [(0, 0), (1, 2)]], "bots_pg_tabularq"),
        ("matrix_bots", [[(1, 0.5), (0, 0)], [(0, 0), (0.5, 1)]], "matrix_bots"),
    ):
        source = f"experiment {experiment} (Stackelberg spec 2.4)"
        games.append(game(f"stackelberg/{name}", unnamed, rows, raw + "; one step", source))
    return MappingProxyType({entry.name: entry for entry in games})


GAMES = _published_games()


def _policy(policy: ArrayLike, name: str) -> np.ndarray:
    array = np.asarray(policy, dtype=np.float64)
    if array.ndim < 1 or array.shape[-1] != 5:
        raise ValueError(f"{name} must end in an axis of 5 states (00, 01, 10, 11, start), not {array.shape}")
    if not np.all((array >= 0) & (array <= 1)):
        raise ValueError(f"{name} must hold probabilities in [0, 1]")
    return array


def transition_matrix(p1: ArrayLike, p2: ArrayLike) -> np.ndarray:
    """Probability of each joint action after each state.

    Args:
        p1, p2: ``[..., 5]`` probability of action 1 per state (module docstring); leading axes broadcast.

    Returns:
        ``[..., 5, 4]``: state (the last is the start), outcome ``2 * a1 + a2``; rows sum to one.

    Raises:
        ValueError: wrong shape, or not probabilities.
    """
    p1, p2 = _policy(p1, "p1"), _policy(p2, "p2")
    try:
        p1, p2 = np.broadcast_arrays(p1, p2)
    except ValueError:
        raise ValueError(f"leading axes of p1 {p1.shape} and p2 {p2.shape} do not fit together") from None
    return np.stack([(1 - p1) * (1 - p2), (1 - p1) * p2, p1 * (1 - p2), p1 * p2], axis=-1)


def discounted_state_visits(p1: ArrayLike, p2: ArrayLike, gamma: float) -> np.ndarray:
    """Expected discounted count of each outcome: ``p0' (I - gamma P)^-1`` (POLA spec 3.1).

    The first outcome is not discounted, so the four visits sum to ``1 / (1 - gamma)``.

    Returns:
        ``[..., 4]`` over the outcomes ``2 * a1 + a2``.
    """
    if not 0 <= gamma < 1:
        raise ValueError(f"gamma must lie in [0, 1), not {gamma}")
    outcomes = transition_matrix(p1, p2)
    system = np.eye(4) - gamma * np.swapaxes(outcomes[..., :4, :], -1, -2)
    return np.linalg.solve(system, outcomes[..., 4, :, None])[..., 0]


def discounted_values(
    p1: ArrayLike, p2: ArrayLike, payoffs: ArrayLike | MatrixGame, gamma: float
) -> np.ndarray:
    """Exact discounted value of the infinitely repeated game for both players.

    Args:
        p1, p2: ``[..., 5]`` memory-one policies, the probability of action 1 (module docstring).
        payoffs: ``[2, 2, 2]`` or a `MatrixGame`.
        gamma: discount; the first outcome counts fully.

    Returns:
        ``[..., 2]``: player 1's and player 2's value, in payoff units (times ``1 - gamma``: per step).
    """
    return discounted_state_visits(p1, p2, gamma) @ _payoff_array(payoffs).reshape(4, 2)
