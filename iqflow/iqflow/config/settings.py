"""What a run is configured with: one frozen dataclass per section of a configuration, by algorithm and experiment.

The keys are those of the original's configurations (spec 2.4, 2.5) that something reads, under their original names,
and a few switches (marked *ours*). Keys that nothing reads are in `dead_keys`, each with its reason; naming one is an
error, because a person who sets it expects an effect.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from common.settings import at_least, choice, fraction, positive, rule, switch

ALGORITHMS = ("qflow", "id", "pg")
MATRIX_GAMES = ("ipd", "chicken", "stag_hunt")
EXPERIMENTS = ("er", *MATRIX_GAMES, "ssd")


def _name() -> Any:
    """Text that is not empty."""
    return rule(bool, "text that is not empty")


def _pair(least: int) -> Any:
    """Two whole numbers that are not below `least`."""
    return rule(lambda value: len(value) == 2 and min(value) >= least, f"two whole numbers from {least} on")


# --- alg: the schedule -------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Training episodes and evaluations (section ``alg``).

    Attributes:
        n_episodes: training episodes; one episode is one iteration, with one update of everything.
        n_eval: episodes per evaluation.
        period: evaluate and log after every so many episodes.
        n_envs: episodes that an iteration plays side by side and learns from at once (ours; ``--n_envs``). The iteration
            still counts as one episode, `step` counts the environment steps of all.
    """

    n_episodes: int = at_least(1)
    n_eval: int = at_least(1)
    period: int = at_least(1)
    n_envs: int = at_least(1, 1)


# --- env ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Env:
    max_steps: int = at_least(1)
    n_agents: int = at_least(1)


@dataclass(frozen=True, kw_only=True)
class _Paid:
    """r_multiplier: scale of the incentive network's output; incentives lie in [0, r_multiplier], 0 switches them off."""

    r_multiplier: float = at_least(0)


@dataclass(frozen=True, kw_only=True)
class MatrixEnv(_Paid, _Env):
    """Iterated matrix game (spec 3.1); ``--exp`` names the game."""

    n_agents: int = choice(2, default=2)


@dataclass(frozen=True, kw_only=True)
class EscapeRoomEnv(_Env):
    """Escape Room (spec 3.2): `min_at_lever` of `n_agents` have to pull; `randomize` draws the starting places."""

    n_agents: int = at_least(1)
    min_at_lever: int = at_least(1)
    randomize: bool = switch(False)


@dataclass(frozen=True, kw_only=True)
class PaidEscapeRoomEnv(_Paid, EscapeRoomEnv):
    """Escape Room with a mechanism."""


@dataclass(frozen=True, kw_only=True)
class CleanupParams:
    """How apples and waste come back (spec 3.3, step 4)."""

    appleRespawnProbability: float = fraction()
    thresholdDepletion: float = fraction()
    thresholdRestoration: float = fraction()
    wasteSpawnProbability: float = fraction()


@dataclass(frozen=True, kw_only=True)
class CleanupEnv(_Env):
    """Cleanup (spec 3.3).

    Attributes:
        map_name: `cleanup_small_sym`, `cleanup_10x10_sym`, `cleanup_other`, or a text file that holds a map.
        view_size: half-width v of an observation, whose window is 2v+1 cells wide and high.
        obs_height, obs_width: have to be 2v+1.
        global_ref_point: row and column of the window's centre, the same for everybody; empty: the agent itself.
    """

    n_agents: int = at_least(1)
    map_name: str = _name()
    view_size: int = at_least(1)
    obs_height: int = at_least(1)
    obs_width: int = at_least(1)
    beam_width: int = at_least(1)
    cleaning_penalty: float = at_least(0)
    disable_left_right_action: bool = switch()
    disable_rotation_action: bool = switch()
    global_ref_point: tuple[int, ...] = field(default=())
    random_orientation: bool = switch()
    shuffle_spawn: bool = switch()
    cleanup_params: CleanupParams = field()


@dataclass(frozen=True, kw_only=True)
class PaidCleanupEnv(_Paid, CleanupEnv):
    """Cleanup with a mechanism."""


@dataclass(frozen=True, kw_only=True)
class DesignedCleanupEnv(PaidCleanupEnv):
    """Cleanup with the Incentive Designer.

    Attributes:
        obs_cleaned_1hot: the incentive net sees "cleaned or not" (2 classes) instead of the action.
    """

    obs_cleaned_1hot: bool = switch(False)


# --- qflow, id, pg: the algorithm --------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Followers:
    """What every kind of follower reads.

    Attributes:
        shared_reward: followers learn from the sum of everybody's environment reward (ours).
    """

    entropy_coeff: float = at_least(0)
    gamma: float = fraction()
    lr_actor: float = positive()
    shared_reward: bool = switch(False)


@dataclass(frozen=True, kw_only=True)
class Reinforce(_Followers):
    """REINFORCE-like followers (spec 5.1).

    Attributes:
        optimizer: `adam` or plain `sgd`.
        reward_to_go: an action is weighted by the discounted rewards from its step on, not by its own alone (ours).
    """

    use_actor_critic: bool = choice(False, default=False)
    optimizer: str = choice("sgd", "adam", default="sgd")
    reward_to_go: bool = switch(False)


@dataclass(frozen=True, kw_only=True)
class ActorCritic(_Followers):
    """Actor-critic followers (spec 5.2): `lr_v` of the critic, `tau` of its target."""

    use_actor_critic: bool = choice(True, default=True)
    lr_v: float = positive()
    tau: float = fraction(0.01)


@dataclass(frozen=True, kw_only=True)
class _QFlow:
    """IQ-Flow's mechanism (spec 5.3).

    Attributes:
        mech_buffer_size: transitions in the replay.
        start_train: environment steps before which the mechanism is not changed, only its critics.
        tau: soft rate of the target critics (and of the followers').
        lr_v_model: cooperative and environment critics.  lr_v_rewarder: incentivised critics and the 20 inner steps.
        lr_reward: incentive net.
        cost_type: 0 and 1 the original's cost on incentivised action values; 2 on the incentives themselves (ours).
        cost_reg_coeff, cost_reg_coeff2: weights of the cost.
        obj_mask: only where the greedy actions differ.
        use_mini_init: incentive |tanh| that starts at 0, not sigmoid that starts around 1.
        state_values: in a game of vectors the state values see the state (ours; spec 7.1).
    """

    batch_size: int = at_least(1)
    meta_batch_size: int = at_least(1)
    # DEVIATION(Q8): two of the original's configurations lack this key and the reset period; they have a default here.
    mech_buffer_size: int = at_least(1, 1_000_000)
    start_train: int = at_least(0)
    expectile: float = fraction()
    tau: float = fraction()
    lr_v_model: float = positive()
    lr_v_rewarder: float = positive()
    lr_reward: float = positive()
    cost_type: int = choice(0, 1, 2)
    cost_reg_coeff: float = at_least(0)
    cost_reg_coeff2: float = at_least(0)
    obj_mask: bool = switch()
    use_mini_init: bool = switch()


@dataclass(frozen=True, kw_only=True)
class _QFlowVector(_QFlow):
    state_values: bool = switch(False)


@dataclass(frozen=True, kw_only=True)
class QFlowReinforce(_QFlowVector, Reinforce):
    """IQ-Flow over REINFORCE-like followers."""


@dataclass(frozen=True, kw_only=True)
class QFlowActorCritic(_QFlowVector, ActorCritic):
    """IQ-Flow over actor-critic followers that see vectors."""

    tau: float = fraction()


@dataclass(frozen=True, kw_only=True)
class QFlowCleanup(_QFlow, ActorCritic):
    """IQ-Flow in Cleanup."""

    tau: float = fraction()


@dataclass(frozen=True, kw_only=True)
class IDReinforce(Reinforce):
    """Incentive Designer, policy-gradient variant (spec 5.4).

    Attributes:
        decentralized: the designer models the followers instead of reading their parameters.
        separate_cost_optimizer: the incentives' cost has an Adam of its own, with `lr_cost`; otherwise it is added with
            weight `reg_coeff`.
    """

    decentralized: bool = switch(False)
    lr_reward: float = positive()
    separate_cost_optimizer: bool = switch()
    lr_cost: float = at_least(0, 0.0)
    reg_coeff: float = at_least(0, 0.0)


@dataclass(frozen=True, kw_only=True)
class IDActorCritic(ActorCritic):
    """Incentive Designer, actor-critic variant (spec 5.5): `lr_v_model` of its central critic."""

    decentralized: bool = choice(False, default=False)
    lr_reward: float = positive()
    lr_v_model: float = positive()
    reg_coeff: float = at_least(0)


@dataclass(frozen=True, kw_only=True)
class PGReinforce(Reinforce):
    """No incentive, policy gradient."""


@dataclass(frozen=True, kw_only=True)
class PGActorCritic(ActorCritic):
    """No incentive, actor-critic; `centralized`: one controller over the joint actions."""

    centralized: bool = switch(False)


# --- nn ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Nets:
    """Hidden widths of every net but the incentive net over vectors."""

    n_h1: int = at_least(1)
    n_h2: int = at_least(1)


@dataclass(frozen=True, kw_only=True)
class VectorNets(Nets):
    """`n_hr1`, `n_hr2`: hidden widths of the incentive net over vectors."""

    n_hr1: int = at_least(1)
    n_hr2: int = at_least(1)


@dataclass(frozen=True, kw_only=True)
class ImageNets(Nets):
    """One convolution before the dense layers: `kernel` and `stride` in rows and columns, `n_filters` features."""

    kernel: tuple[int, ...] = _pair(1)
    stride: tuple[int, ...] = _pair(1)
    n_filters: int = at_least(1)


# --- main --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Main:
    """Where results go and how often.

    Attributes:
        root_dir_name, exp_name, dir_name: parts of the output folder.
        save_period: the trained agents are saved after every so many episodes that are also evaluated, and at the end.
        max_to_keep: so many of these files are kept.
        agent_reset_period: followers are created anew after every so many episodes; 0: never.
    """

    root_dir_name: str = _name()
    exp_name: str = _name()
    dir_name: str = _name()
    save_period: int = at_least(1)
    # DEVIATION(Q16): the original keeps save_period files and ignores this key.
    max_to_keep: int = at_least(1)
    agent_reset_period: int = at_least(0, 0)


@dataclass(frozen=True, kw_only=True)
class MatrixMain(Main):
    """`report_decay`: weight of the newest evaluation in the score that the tuner maximises."""

    report_decay: float = fraction()


# --- what is read by nobody --------------------------------------------------------------------------------------

_NOBODY = "is read by nobody (in the original neither)"


def _lacking(names: str, reason: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), reason)


def dead_keys(alg: str, exp: str, actor_critic: bool) -> dict[str, str]:
    """Keys of the original's configurations that nothing reads in this combination, each with the reason."""
    dead = _lacking(
        "alg.n_test env.reward_sanity_check env.asymmetric env.idx_recipient env.reward_coeff env.reward_value "
        f"{alg}.buffer_size {alg}.embed_dim {alg}.period {alg}.lr_opp {alg}.reg {alg}.reward_type main.model_name "
        "main.print_period main.qflow_reset_period main.save_threshold main.summarize main.use_gpu nn.n_h",
        _NOBODY,
    )
    dead |= _lacking("alg.name", "is read by nobody; --alg names the algorithm")
    dead |= _lacking("env.name", "is read by nobody; --exp names the environment")
    dead |= _lacking("main.seed", "is read by nobody; --seed_base, --seed and --seeds give the seeds")
    # The schedule is computed in the original too, but its policies are built without it (spec 7.3).
    names = " ".join(f"{alg}.epsilon_{part}" for part in ("start", "end", "div"))
    dead |= _lacking(names, "has no effect (in the original neither): policies explore by sampling alone")
    if not actor_critic:
        dead |= _lacking(f"{alg}.lr_v", "is read by actor-critic followers only")
        if alg != "qflow":
            dead |= _lacking(f"{alg}.tau", "is read by actor-critic followers only")
    else:
        dead |= _lacking(f"{alg}.optimizer", "is read by REINFORCE-like followers only")
        dead |= _lacking(f"{alg}.reward_to_go", "is read by REINFORCE-like followers only")
    if exp not in MATRIX_GAMES:
        dead |= _lacking("main.report_decay", "is read in the matrix games only")
    if alg == "pg":
        dead |= _lacking(
            "env.r_multiplier nn.n_hr1 nn.n_hr2", "is read by nobody: --alg pg pays no incentives"
        )
    if alg == "qflow" and exp == "ssd":
        dead |= _lacking(
            "env.obs_cleaned_1hot", "is read by --alg id only; IQ-Flow's critics need the actions"
        )
    elif alg == "pg":
        dead |= _lacking("env.obs_cleaned_1hot", "is read by nobody: --alg pg pays no incentives")
    return dead
