"""The keys of every program (specification, section 2): the fields of these dataclasses in capitals.

What each key means, and its default, stands beside it in ``train/config/*.yaml``. Keys of the original that nothing
reads are listed in the tables `DEAD_...` with the reason; naming one is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from common.settings import at_least, choice, fraction, positive, switch, text
from marlhf.data.mixes import Named, table_key
from marlhf.settings import Kwargs, block, counts, place, source, table, texts

ENVIRONMENTS = ("MPE_simple_spread_v3", "MPE_simple_reference_v3", "MPE_simple_tag_v3", "overcooked")
#: what a task is called in a table, see `table_key`
TASK_KEYS = rf"{'|'.join(ENVIRONMENTS)}|{ENVIRONMENTS[0]}_na\d+"
CORRECTED_OR_ORIGINAL = ("corrected", "original")


@dataclass(frozen=True)
class Env:
    """The block ``env``."""

    env_name: str = choice(*ENVIRONMENTS)
    env_kwargs: Kwargs


# --- blocks that the programs and the pipeline share ---------------------------------------------------------------


@dataclass(frozen=True)
class TablesBlock:
    """Where recorded play lies, by task (its id, ``_na<n>`` behind it for Spread with other than three agents)."""

    offline_data_paths: Mapping[str, tuple[str, ...]] = table(TASK_KEYS, 5)
    offline_unilateral_data_paths: Mapping[str, tuple[str, ...]] = table(TASK_KEYS, 3)

    def named(self, task: Any) -> Named:
        """The folders of a task's play, as far as they are named."""
        key = table_key(task)
        return Named(self.offline_data_paths.get(key, ()), self.offline_unilateral_data_paths.get(key, ()))


@dataclass(frozen=True)
class MixBlock:
    """How many files of which policies: five columns from expert to trivial, three of single deviators."""

    num_batch: tuple[int, ...] = counts(5)
    num_unilateral_batch: tuple[int, ...] = counts(3)
    use_unilateral: bool = switch()

    @property
    def unilateral(self) -> tuple[int, ...]:
        """The deviators' files that are used."""
        return self.num_unilateral_batch if self.use_unilateral else (0, 0, 0)


@dataclass(frozen=True)
class RewardBlock:
    """Reward learning."""

    reward_model_type: str = choice("RNN", "FF")
    ff_layer_dim: int = at_least(1)
    minibatch_size: int = at_least(2)
    reward_model_epochs: int = at_least(1)
    lr: float = positive()
    max_grad_norm: float = positive()
    steepness: float = positive()
    mse_loss_coef: float = at_least(0)


@dataclass(frozen=True)
class ImitationBlock:
    """Imitation learning of the behaviour policy."""

    lr: float = positive()
    max_grad_norm: float = positive()
    num_epochs: int = at_least(1)
    batch_size: int = at_least(1)
    test_interval: int = at_least(1)
    num_test_envs: int = at_least(1)


@dataclass(frozen=True)
class OfflineBlock:
    """Offline learning of the joint policy."""

    epochs: int = at_least(1)
    batch_size: int = at_least(1)
    buffer_batch_size: int = at_least(1)
    agent_hidden_dim: int = at_least(1)
    agent_init_scale: float = positive()
    parameters_sharing: bool = switch()
    lr: float = positive()
    eps_adam: float = positive()
    max_grad_norm: float = positive()
    lr_linear_decay: bool = switch()
    target_update_interval: int = at_least(1)
    td_lambda_loss: bool = switch()
    td_lambda: float = fraction()
    gamma: float = fraction()
    iql_tau: float = fraction()
    ref_log_coef: float = at_least(0)
    add_log_prob: bool = switch()
    num_test_episodes: int = at_least(1)
    test_interval: int = at_least(1)
    verbose: bool = switch()


# --- the programs --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RewardModel(RewardBlock, MixBlock):
    """``train/reward_model.py``."""

    seed: int = at_least(0)
    env_name: str = choice(*ENVIRONMENTS)
    env_kwargs: Kwargs
    layout: str = choice(*CORRECTED_OR_ORIGINAL)
    alignment: str = choice(*CORRECTED_OR_ORIGINAL)
    preferences: str = source()
    data_dir: str = source()
    save_dir: str = place()
    debug: bool = switch()
    disable_jit: bool = switch()


@dataclass(frozen=True)
class Imitation(ImitationBlock, TablesBlock, MixBlock):
    """``train/offline_imitation_learning.py``."""

    seed: int = at_least(0)
    env_name: str = choice(*ENVIRONMENTS)
    env_kwargs: Kwargs
    alignment: str = choice(*CORRECTED_OR_ORIGINAL)
    filter_by_reward_model: bool = switch()
    filter_ratio: float = fraction()
    reward_model_type: str = choice("RNN", "FF")
    ff_layer_dim: int = at_least(1)
    mse_loss_coef: float = at_least(0)
    reward_network_param_path: str = source()
    data_dir: str = source()
    student_network_save_path: str = place()
    vis_save_path: str = place()
    disable_jit: bool = switch()


@dataclass(frozen=True)
class OfflineAlg(OfflineBlock, TablesBlock, MixBlock):
    """The block ``alg`` of the offline programs."""

    reward_model_type: str = choice("RNN", "FF")
    ff_layer_dim: int = at_least(1)
    mse_loss_coef: float = at_least(0)
    reward_network_param_path: str = source()
    reference_network_param_path: str = source()
    use_fix_il: bool = switch()
    il_num_batch: tuple[int, ...] = counts(5)
    data_dir: str = source()
    save_path: str = place()


@dataclass(frozen=True)
class Offline:
    """``train/vdn_offline_rm.py``, ``iql_offline_rm.py`` and ``bcq_offline_rm.py``."""

    seed: int = at_least(0)
    env: Env = block()
    alg: OfflineAlg = block()
    alignment: str = choice(*CORRECTED_OR_ORIGINAL)
    layout: str = choice(*CORRECTED_OR_ORIGINAL)
    disable_jit: bool = switch()


@dataclass(frozen=True)
class CollectAlg:
    """The block ``alg`` of ``train/vdn_collect.py``."""

    expert_param_path: str = source()
    idiotic_agent: bool = switch()
    idiotic_agent_path: str = source()
    idiotic_agent_index: int = at_least(0)
    traj_batch_path: str = place()
    total_timesteps: float = positive()
    num_envs: int = at_least(1)
    num_steps: int = at_least(1)
    epsilon: float = fraction()


@dataclass(frozen=True)
class Collect:
    """``train/vdn_collect.py``."""

    seed: int = at_least(0)
    env: Env = block()
    alg: CollectAlg = block()
    zero_first_observations: bool = switch()
    disable_jit: bool = switch()


@dataclass(frozen=True)
class ExpertAlg:
    """The block ``alg`` of ``train/expert_vdn.py``."""

    num_envs: int = at_least(1)
    num_steps: int = at_least(2)
    total_timesteps: float = positive()
    buffer_size: int = at_least(1)
    buffer_batch_size: int = at_least(1)
    agent_hidden_dim: int = at_least(1)
    agent_init_scale: float = positive()
    epsilon_start: float = fraction()
    epsilon_finish: float = fraction()
    epsilon_anneal_time: int = at_least(1)
    max_grad_norm: float = positive()
    lr: float = positive()
    eps_adam: float = positive()
    lr_linear_decay: bool = switch()
    target_update_interval: int = at_least(1)
    td_lambda_loss: bool = switch()
    td_lambda: float = fraction()
    gamma: float = fraction()
    num_test_episodes: int = at_least(1)
    test_interval: int = at_least(1)
    avg_return_window: int = at_least(1)
    gradient_steps: int = at_least(1)
    lr_final: float = at_least(0)
    guidance: float = fraction()
    terminal_target: bool = switch()
    save_path: str = place()
    load_path: str = source()


@dataclass(frozen=True)
class Expert:
    """``train/expert_vdn.py``."""

    seed: int = at_least(0)
    env: Env = block()
    alg: ExpertAlg = block()
    alignment: str = choice(*CORRECTED_OR_ORIGINAL)
    disable_jit: bool = switch()


@dataclass(frozen=True)
class Ippo:
    """``train/ippo_ff_overcooked.py``."""

    seed: int = at_least(0)
    env_kwargs: Kwargs
    lr: float = positive()
    anneal_lr: bool = switch()
    num_envs: int = at_least(1)
    num_steps: int = at_least(1)
    total_timesteps: float = positive()
    update_epochs: int = at_least(1)
    num_minibatches: int = at_least(1)
    gamma: float = fraction()
    gae_lambda: float = fraction()
    clip_eps: float = positive()
    ent_coef: float = at_least(0)
    vf_coef: float = at_least(0)
    max_grad_norm: float = positive()
    activation: str = choice("tanh", "relu")
    save_path: str = place()
    disable_jit: bool = switch()


@dataclass(frozen=True)
class OvercookedCollect:
    """``train/overcooked_collect.py``."""

    seed: int = at_least(0)
    env_kwargs: Kwargs
    num_envs: int = at_least(1)
    num_steps: int = at_least(1)
    collect_epochs: int = at_least(1)
    expert_param_path: str = source()
    idiot_param_path: str = source()
    data_save_path: str = place()
    disable_jit: bool = switch()


@dataclass(frozen=True)
class LabelPreferences:
    """``train/label_preferences.py``."""

    seed: int = at_least(0)
    env_name: str = choice(*ENVIRONMENTS)
    env_kwargs: Kwargs
    data: tuple[str, ...] = texts()
    output: str = text()
    pairs: int = at_least(1)
    port: int = at_least(0)
    agent: int = at_least(-1)
    who: str = text()


@dataclass(frozen=True)
class DataBlock:
    """The recorded play of the pipeline."""

    num_envs: int = at_least(1)
    num_steps: int = at_least(1)
    epsilon: float = fraction()
    deviating_agent: str = text()


@dataclass(frozen=True)
class PipelineAlg(OfflineBlock):
    """The offline learner of the pipeline."""

    algorithm: str = choice("vdn", "maiql", "mabcq", "none")


@dataclass(frozen=True)
class Pipeline:
    """``train/pipeline.py``."""

    seed: int = at_least(0)
    upstream_seeds: str = choice("own", "fixed")
    env: Env = block()
    mix: str = text()
    layout: str = choice(*CORRECTED_OR_ORIGINAL)
    alignment: str = choice(*CORRECTED_OR_ORIGINAL)
    zero_first_observations: bool = switch()
    agents_dir: str = source()
    data: DataBlock = block()
    rm: RewardBlock = block()
    il: ImitationBlock = block()
    alg: PipelineAlg = block()
    data_dir: str = place()
    disable_jit: bool = switch()
