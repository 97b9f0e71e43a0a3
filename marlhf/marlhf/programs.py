"""The programs of this folder: each turns its command line into a configuration without running anything.

`DEAD` holds the original's keys that nothing reads any more, with the reason that a person gets who names one.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from common.cli import UserError
from marlhf import options
from marlhf.data.mixes import OVERCOOKED, parse_mix
from marlhf.settings import Launch, read

HOME = Path(__file__).resolve().parents[1]
_NEVER = "was never read by the original"
_SHAPE = "is the shape of the files of data, which say it themselves"
_WIDTH = "is the network's own width"
_PRETRAINED = "has no use: no shipped program makes a model to start from"

_OFFLINE = {
    # DEVIATION(Q16): rows are plain arrays; the original's buffer allocated 39 unused time slots for each
    "alg.BUFFER_SIZE": "sized a buffer that is not there any more: rows are plain arrays",
    "alg.NUM_STEPS": _SHAPE,
    "alg.NUM_ENVS": _SHAPE,
    "alg.TOTAL_TIMESTEPS": "belongs to vdn_collect.py; alg.EPOCHS counts updates here",
    "alg.EPSILON": "belongs to vdn_collect.py",
    "alg.RM_HIDDEN_SIZE": _WIDTH,
    "alg.RE_HIDDEN_SIZE": _WIDTH,
    "alg.OFFLINE_DATA_PATH": _NEVER,
    "alg.OFFLINE_DATA_NUMS": _NEVER,
    "alg.EPSILON_START": _NEVER,
    "alg.EPSILON_FINISH": _NEVER,
    "alg.EPSILON_ANNEAL_TIME": _NEVER,
    "NUM_SEEDS": f"{_NEVER}; --seeds 0-4 runs several",
}
DEAD = {
    "train/expert_vdn.py": {
        # DEVIATION(Q12): snapshots are kept at targets of skill instead of at thresholds on a doubly divided return
        "alg.SAVE_RETURN_THRES": "is replaced by the targets of skill that each task has (README, agents)",
        "alg.PARAMETERS_SHARING": "is for the offline programs: agents of graded skill share one network",
        "alg.PRETRAINED_MODEL": _NEVER,
        "alg.WANDB_ONLINE_REPORT": _NEVER,
    },
    "train/vdn_collect.py": {
        "alg.AGENT_HIDDEN_DIM": "is read from the agents' file",
        "alg.AGENT_INIT_SCALE": "is read from the agents' file",
        "alg.PARAMETERS_SHARING": "could only be True",
        "alg.EPOCHS": "belongs to vdn_offline_rm.py; alg.TOTAL_TIMESTEPS counts steps here",
        "NUM_SEEDS": f"{_NEVER}; --seeds 0-4 runs several",
    },
    "train/reward_model.py": {
        "REWARD_MODEL_LR": f"{_NEVER}; LR is the rate",
        # DEVIATION(Q15): every script starts fresh models, so the key that one of them forgot is not there
        "LOAD_FROM_PRETRAIN": _PRETRAINED,
        "PRETRAIN_MODEL_NAME": _PRETRAINED,
        "PRETRAIN_MODEL_DIR": _PRETRAINED,
        "VDN": "could only be True: no program writes the other format",
        "CONVERTED": _NEVER,
        "CONVERTED_DIR": _NEVER,
        "CONVERTED_FILELIST": _NEVER,
        "TEST_CONVERTED_FILELIST": _NEVER,
        "NUM_ENVS": _SHAPE,
        "NUM_STEPS": _SHAPE,
        "TOTAL_TIMESTEPS": _NEVER,
        "RNN_HIDDEN_SIZE": "is FF_LAYER_DIM",
    },
    "train/offline_imitation_learning.py": {
        "STUDENT_NETWORK_HIDDEN": _WIDTH,
        "NUM_TEST_STEPS": "has no use: the test is one whole episode",
        "TEACHER_NETWORK_TYPE": "could only be Qfn: the agents' one-hot index is cut from every observation",
        "RM_HIDDEN_SIZE": _WIDTH,
        "LR_LINEAR_DECAY": _NEVER,
        "TOTAL_TIMESTEPS": _NEVER,
        "NUM_STEPS": _SHAPE,
        "NUM_ENVS": _SHAPE,
        "TEACHER_NETWORK_HIDDEN": _NEVER,
        "TEACHER_NETWORK_INIT_SCALE": _NEVER,
        "TEACHER_NETWORK_PARAM_PATH": _NEVER,
    },
    "train/vdn_offline_rm.py": _OFFLINE,
    "train/iql_offline_rm.py": _OFFLINE,
    "train/bcq_offline_rm.py": _OFFLINE,
}

#: program -> (its configuration, the dataclass of its keys)
_KINDS = {
    "train/expert_vdn.py": ("expert_config", options.Expert),
    "train/vdn_collect.py": ("vdn_collect_config", options.Collect),
    "train/reward_model.py": ("rm_config", options.RewardModel),
    "train/offline_imitation_learning.py": ("offline_IL_config", options.Imitation),
    "train/vdn_offline_rm.py": ("vdn_config", options.Offline),
    "train/iql_offline_rm.py": ("iql_config", options.Offline),
    "train/bcq_offline_rm.py": ("bcq_config", options.Offline),
    "train/ippo_ff_overcooked.py": ("ippo_ff_overcooked", options.Ippo),
    "train/overcooked_collect.py": ("overcooked_collect_config", options.OvercookedCollect),
    "train/label_preferences.py": ("label_preferences_config", options.LabelPreferences),
    "train/pipeline.py": ("pipeline_config", options.Pipeline),
}


#: the programs whose seeds read the same data, so that they can run side by side
_SHARING = (options.RewardModel, options.Imitation, options.Offline, options.Pipeline)


def _check_mix(hp: options.MixBlock, path: str) -> None:
    if not sum(hp.num_batch) + sum(hp.unilateral):
        raise UserError(
            f"{path}NUM_BATCH={list(hp.num_batch)} with {path}NUM_UNILATERAL_BATCH={list(hp.unilateral)} "
            "names no file; one of them has to be above 0"
        )


def _check(program: str, launch: Launch) -> None:
    """What single keys can't say.

    Raises: UserError naming the keys that don't go together.
    """
    hp = launch.hp
    own_data = isinstance(hp, options.Pipeline) and hp.upstream_seeds == "own"
    if launch.seed_axis != "auto" and (own_data or not isinstance(hp, _SHARING)):
        hint = "; UPSTREAM_SEEDS=fixed shares them" if own_data else ""
        raise UserError(
            f"--seed_axis {launch.seed_axis}: seeds of {program} have data of their own and run one after another{hint}"
        )
    if isinstance(hp, options.MixBlock):
        _check_mix(hp, "")
    if isinstance(hp, options.RewardModel) and hp.preferences and hp.layout == "original":
        # the original's cutting puts steps of five episodes into each trajectory, and no person saw such a one
        raise UserError(
            "LAYOUT=original with PREFERENCES: a person judges whole episodes, and the original's cutting mixes five "
            "of them; leave LAYOUT out"
        )
    if isinstance(hp, options.Offline):
        _check_mix(hp.alg, "alg.")
        if program == "train/iql_offline_rm.py" and hp.alg.td_lambda_loss:
            raise UserError("alg.TD_LAMBDA_LOSS=True: MAIQL has one-step targets only; leave it out")
    if isinstance(hp, options.Pipeline):
        parse_mix(hp.mix)
        if hp.alg.algorithm == "maiql" and hp.alg.td_lambda_loss:
            raise UserError("alg.TD_LAMBDA_LOSS=True: MAIQL has one-step targets only; leave it out")
    if isinstance(hp, options.Collect | options.Expert) and hp.env.env_name == OVERCOOKED:
        other = "overcooked_collect.py" if isinstance(hp, options.Collect) else "ippo_ff_overcooked.py"
        raise UserError(
            f"env.ENV_NAME=overcooked: {program} is for the MPE tasks; train/{other} is for Overcooked"
        )
    if isinstance(hp, options.Collect) and hp.alg.total_timesteps < hp.alg.num_steps * hp.alg.num_envs:
        raise UserError(
            f"alg.TOTAL_TIMESTEPS={hp.alg.total_timesteps:g} is less than one file, "
            f"alg.NUM_STEPS x alg.NUM_ENVS = {hp.alg.num_steps * hp.alg.num_envs}"
        )


def _agents(hp: options.Pipeline) -> dict[str, str]:
    """The agents that a row of a table starts from: file -> SHA-256 (JAX is not asked, so that plans are quick)."""
    short, number = (
        hp.env.env_name.removeprefix("MPE_simple_").removesuffix("_v3"),
        hp.env.env_kwargs.num_agents,
    )
    folder = f"{short}_na{number}" if number not in (0, 3) else short
    home = Path(hp.agents_dir) if hp.agents_dir else HOME / "agents"
    files = sorted((home / folder).glob("*.safetensors"))
    return {path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def parse(program: str, argv: Sequence[str] | None = None) -> Launch:
    """Understand a command line of one of the programs.

    Raises:
        UserError: anything in it that nobody reads, that can't be, or that doesn't go together.
    """
    config, kind = _KINDS[program]
    launch = read(argv, program=program, config=config, hp_type=kind, dead=DEAD.get(program, {}))
    _check(program, launch)
    if isinstance(launch.hp, options.RewardModel) and launch.hp.debug:
        launch = dataclasses.replace(launch, hp=dataclasses.replace(launch.hp, disable_jit=True))
    if isinstance(launch.hp, options.Pipeline):
        launch = dataclasses.replace(launch, found={"agents": _agents(launch.hp)})
    return launch


PROGRAMS: dict[str, Callable[[Sequence[str] | None], Launch]] = {
    program: partial(parse, program) for program in _KINDS
}
