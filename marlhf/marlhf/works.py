"""What the programs of ``train/`` do: from a configuration to runs, from finished runs to the files of the original."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from common.cli import UserError
from common.progress import Progress
from common.runs import RunFolder, RunSpec
from marlhf import program, reward_model, rewards, storage
from marlhf.behaviour import ippo, vdn
from marlhf.data import people
from marlhf.data.collect import UNIFORM
from marlhf.data.files import RowsFile
from marlhf.data.mixes import NOT_NAMED, Mix, Named, load_mix, mix_files
from marlhf.environments import Task
from marlhf.imitation import files_to_load
from marlhf.options import MixBlock
from marlhf.program import Work
from marlhf.reward_training import Comparisons
from marlhf.settings import Kwargs, Launch, pick
from marlhf.stages import grading, imitating, judging, learning, recording, reward
from marlhf.stages.tasks import task_of

# --- data -----------------------------------------------------------------------------------------------------------


def mix_of(hp: MixBlock) -> Mix:
    """The numbers of files that a program's keys name."""
    return Mix(hp.num_batch, hp.unilateral)


def fingerprint(task: Task, mix: Mix, folder: str, named: Named = NOT_NAMED) -> str:
    """What the files of a mix say of themselves, as one hash: their order, and who made them how.

    Raises: UserError when files are missing, naming the command that makes them.
    """
    digest = hashlib.sha256()
    for label, path in mix_files(task, mix, folder, named=named):
        with RowsFile(path) as file:
            digest.update(json.dumps([label, file.made_by, file.steps, file.envs], sort_keys=True).encode())
    return digest.hexdigest()


# --- where the original's programs put their results -----------------------------------------------------------------


def _number(value: float) -> str:
    return f"{value:g}"


def _home(root: str, env_name: str, kwargs: Kwargs) -> Path:
    folder = Path(root) / env_name
    return folder / f"na{kwargs.num_agents}" if kwargs.num_agents else folder


def mix_name(mix: Mix) -> str:
    """``15|6|6|3|15_15|0|0``."""
    return "_".join("|".join(map(str, part)) for part in (mix.batches, mix.unilateral))


def reward_model_path(
    root: str, env_name: str, kwargs: Kwargs, kind: str, width: int, alpha: float, mix: Mix
) -> Path:
    """``<root>/<env>/[na<n>/]unilateral/rm_<type>_<width>_mse_<alpha>_vdn_<mix>/reward_model_best.safetensors``."""
    name = f"rm_{kind}_{width}_mse_{_number(alpha)}_vdn_{mix_name(mix)}"
    return _home(root, env_name, kwargs) / "unilateral" / name / "reward_model_best.safetensors"


def model_of(hp: Any, env_name: str, kwargs: Kwargs, mix: Mix) -> Path:
    """The reward model that a program's keys name: a file, or a folder of them with the model's kind, width and alpha."""
    root = hp.reward_network_param_path
    if root.endswith(".safetensors"):
        return Path(root)
    kind, width, alpha = hp.reward_model_type, hp.ff_layer_dim, hp.mse_loss_coef
    return reward_model_path(root, env_name, kwargs, kind, width, alpha, mix)


def existing(what: str, path: Path, maker: str) -> Path:
    """`path`, if it is a file.

    Raises: UserError naming the command that makes it.
    """
    if not path.is_file():
        raise UserError(f"no {what} at {path}; python {maker} with the same mix makes it")
    return path


def policy_path(prefix: str, env_name: str, kwargs: Kwargs, mix: Mix) -> Path:
    """``<prefix>/<env>/[na<n>/]<mix>final.safetensors``."""
    # DEVIATION(Q20): a separator, the task and the unilateral mix are part of the name, so that no run overwrites another's
    return _home(prefix, env_name, kwargs) / f"{mix_name(mix)}final.safetensors"


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.part")
    shutil.copyfile(source, temporary)
    temporary.replace(target)
    print(f"saved {target}", flush=True)


def _per_seed(
    launch: Launch, name: str, stage: ModuleType, inputs: Mapping[str, Any], make, shared: bool = True
) -> list[Work]:
    """A piece of work for each seed; `shared` as in `Work`."""
    return [
        Work(name, launch.identity(seed) | {"inputs": dict(inputs)}, seed, Path(stage.__file__), make, shared)
        for seed in launch.seeds
    ]


# --- train/reward_model.py ---------------------------------------------------------------------------------------------


def train_reward_model(launch: Launch) -> int:
    """Train reward models, one per seed; the last one's file lies where the offline programs look for it."""
    hp, name = launch.hp, "train/reward_model.py"
    task, mix = task_of(hp.env_name, hp.env_kwargs), mix_of(hp)
    inputs = {"data": fingerprint(task, mix, hp.data_dir)}
    if hp.preferences:
        inputs["preferences"] = storage.file_digest(hp.preferences)

    def make() -> reward.RewardTrainer:
        rows, chosen = load_mix(task, mix, hp.data_dir), None
        if hp.preferences:
            files = [path for _, path in mix_files(task, mix, hp.data_dir)]
            found = people.read(hp.preferences, task.id)
            chosen = Comparisons(*people.members(hp.preferences, found, files, task.episode_length))
        return reward.RewardTrainer(task, hp, hp.layout, hp.alignment, rows, chosen)

    target = reward_model_path(
        hp.save_dir, hp.env_name, hp.env_kwargs, hp.reward_model_type, hp.ff_layer_dim, hp.mse_loss_coef, mix
    )

    def after(work: Work, run: RunFolder) -> None:
        _copy(run.path / run.summary["model"], target)

    return program.run(launch, _per_seed(launch, name, reward, inputs, make), after)


# --- train/offline_imitation_learning.py -------------------------------------------------------------------------------


def imitate(launch: Launch) -> int:
    """Train imitation policies, one per seed; the last one's file lies where the offline programs look for it."""
    hp, name = launch.hp, "train/offline_imitation_learning.py"
    task, mix = task_of(hp.env_name, hp.env_kwargs), mix_of(hp)
    read = mix if not hp.filter_by_reward_model else _more(mix, hp.filter_ratio)
    inputs = {"data": fingerprint(task, read, hp.data_dir, hp.named(task))}
    judged_by = model_of(hp, hp.env_name, hp.env_kwargs, mix)
    if hp.filter_by_reward_model:
        inputs["reward_model"] = storage.file_digest(
            existing("reward model", judged_by, "train/reward_model.py")
        )

    def make() -> imitating.ImitationTrainer:
        rows = load_mix(task, read, hp.data_dir, named=hp.named(task))
        if hp.filter_by_reward_model:
            rows = judging.better_files(
                task, rows, sum(read.batches + read.unilateral), judged_by, hp.filter_ratio, hp.alignment
            )
        return imitating.ImitationTrainer(task, hp, hp.alignment, rows)

    target = policy_path(hp.student_network_save_path, hp.env_name, hp.env_kwargs, mix)

    def after(work: Work, run: RunFolder) -> None:
        _copy(run.path / run.summary["model"], target)
        if hp.vis_save_path:
            _film(target, task, Path(hp.vis_save_path) / f"{target.stem}_seed_{work.seed}.gif", work.seed)

    return program.run(launch, _per_seed(launch, name, imitating, inputs, make), after)


def _more(mix: Mix, ratio: float) -> Mix:
    """The files that a filter reads to keep a mix's number of them."""
    return Mix(
        *(tuple(files_to_load(count, ratio) for count in part) for part in (mix.batches, mix.unilateral))
    )


def _film(agent: Path, task: Task, path: Path, seed: int) -> None:
    from marlhf.environments import film

    prey = str(dict(task.kwargs).get("prey", "default"))
    path.parent.mkdir(parents=True, exist_ok=True)
    film.save(film.play(task.name, str(agent), prey, seed, None), path, fps=5.0)
    print(f"saved {path}", flush=True)


# --- train/{vdn,iql,bcq}_offline_rm.py ---------------------------------------------------------------------------------


def learn_offline(launch: Launch, name: str, algorithm: str) -> int:
    """Train offline agents, one per seed, from the files of the two programs above."""
    hp, alg = launch.hp, launch.hp.alg
    env = hp.env
    task, mix = task_of(env.env_name, env.env_kwargs), mix_of(alg)
    judged_by = model_of(alg, env.env_name, env.env_kwargs, mix)
    imitated = Mix(alg.il_num_batch, mix.unilateral) if alg.use_fix_il else mix
    imitated_by = policy_path(alg.reference_network_param_path, env.env_name, env.env_kwargs, imitated)
    existing("reward model", judged_by, "train/reward_model.py")
    existing("imitation policy", imitated_by, "train/offline_imitation_learning.py")
    inputs = {
        "data": fingerprint(task, mix, alg.data_dir, alg.named(task)),
        "reward_model": storage.file_digest(judged_by),
        "imitation": storage.file_digest(imitated_by),
    }

    def make() -> learning.OfflineTrainer:
        rows = load_mix(task, mix, alg.data_dir, named=alg.named(task))
        architecture, params, _ = reward_model.load(judged_by, task)
        policy, settings = imitating.load_policy(imitated_by, task), pick(rewards.RewardSettings, alg, hp)
        judged = judging.judge_rows(task, rows, (architecture.network(), params), policy, settings)
        return learning.OfflineTrainer(task, algorithm, alg, hp.alignment, rows, judged)

    learned_from = (
        f"rm_{alg.reward_model_type}_{alg.ff_layer_dim}_mse_{_number(alg.mse_loss_coef)}_vdn_{mix_name(mix)}"
    )
    target = _home(alg.save_path, env.env_name, Kwargs()) / f"na{task.n_agents}" / f"vdn_{learned_from}"

    def after(work: Work, run: RunFolder) -> None:
        if "agent" in run.summary:
            found = run.path / run.summary["agent"]
            _copy(found, target / f"beta_{_number(alg.ref_log_coef)}_seed_{work.seed}" / found.name)

    return program.run(launch, _per_seed(launch, name, learning, inputs, make), after)


# --- train/{vdn,overcooked}_collect.py ---------------------------------------------------------------------------------


def _player(task: Task, name: str) -> Path | str:
    """An agent by its file, or by a label of the catalogue (a role or a published number), or ``random``."""
    return (
        name if name == UNIFORM or "/" in name or Path(name).is_file() else recording.agent_file(task, name)
    )


def _label(player: Path | str) -> str:
    return player if player == UNIFORM else Path(player).stem


def _record(launch: Launch, name: str, play: recording.Recording, folder: Path, count: int) -> int:
    """Files 0 to `count` - 1 of a folder; those that are there and were made like this stay."""
    device = program.choose_device(launch.device, launch.hp.disable_jit)
    program.keep_compiled(program.run_root(launch))
    if len(launch.seeds) > 1:
        raise UserError(
            "--seeds: a folder holds the play of one seed; give --seed and another folder for each"
        )
    collector = play.collector()
    identity = {"play": play.header(), "files": count, "num_envs": play.num_envs, "num_steps": play.num_steps}
    spec = RunSpec(name, identity, program.digest(Path(recording.__file__)))
    run = RunFolder.open(program.run_root(launch), spec, [name, *sys.argv[1:]], device)
    if run.finished and not recording.missing_files(play, folder, count):
        print(f"{folder} has all {count} files", flush=True)
        return 0
    bar = Progress(name, count)

    def told(index: int, value: float | None) -> None:
        if value is not None and not run.finished:
            timestep = (index + 1) * play.num_steps * play.num_envs
            run.log({"file": index, "timestep": timestep, "returns": value})
        bar.update(index + 1)

    recording.record(play, collector, folder, count, told)
    bar.close()
    if not run.finished:
        run.finish({"files": count})
    print(f"{count} files of {play.policy} in {folder}", flush=True)
    return 0


def record_play(launch: Launch) -> int:
    """Record an MPE agent's play, or that of one with a deviator among the others."""
    hp, alg = launch.hp, launch.hp.alg
    task = task_of(hp.env.env_name, hp.env.env_kwargs)
    player = _player(task, alg.expert_param_path)
    deviator = _player(task, alg.idiotic_agent_path) if alg.idiotic_agent else None
    policy = _label(player) if deviator is None else f"{_label(player)}|{_label(deviator)}"
    play = recording.Recording(
        task,
        policy,
        player,
        deviator,
        str(alg.idiotic_agent_index),
        launch.seeds[0],
        alg.epsilon,
        alg.num_envs,
        alg.num_steps,
        hp.zero_first_observations,
    )
    folder = Path(f"{alg.traj_batch_path}unilateral" if alg.idiotic_agent else alg.traj_batch_path)
    count = int(alg.total_timesteps) // alg.num_steps // alg.num_envs
    return _record(launch, "train/vdn_collect.py", play, folder, count)


def record_overcooked(launch: Launch) -> int:
    """Record Overcooked agents' play (sampled actions), or that of one with a deviator in agent 0's place."""
    hp = launch.hp
    task = task_of("overcooked", hp.env_kwargs)
    player = _player(task, hp.expert_param_path)
    deviator = _player(task, hp.idiot_param_path) if hp.idiot_param_path else None
    policy = _label(player) if deviator is None else f"{_label(player)}|{_label(deviator)}"
    play = recording.Recording(
        task, policy, player, deviator, "0", launch.seeds[0], 0.0, hp.num_envs, hp.num_steps
    )
    return _record(launch, "train/overcooked_collect.py", play, Path(hp.data_save_path), hp.collect_epochs)


# --- train/label_preferences.py ----------------------------------------------------------------------------------------


def label_preferences(launch: Launch) -> int:
    """Show pairs of recorded episodes to a person until the page is stopped."""
    from marlhf.labelling import LabellingSettings, serve

    hp = launch.hp
    files = tuple(map(Path, hp.data))
    agent = None if hp.agent < 0 else hp.agent
    settings = LabellingSettings(files, Path(hp.output), hp.pairs, launch.seeds[0], hp.port, agent, hp.who)
    serve(settings, task_of(hp.env_name, hp.env_kwargs))
    return 0


# --- train/{expert_vdn,ippo_ff_overcooked}.py --------------------------------------------------------------------------


def train_experts(launch: Launch) -> int:
    """Train graded agents of an MPE task, one ladder per seed."""
    hp, name = launch.hp, "train/expert_vdn.py"
    task = task_of(hp.env.env_name, hp.env.env_kwargs)
    settings = pick(vdn.ExpertSettings, hp.alg, hp)
    start = Path(hp.alg.load_path) if hp.alg.load_path else None
    inputs = {"start": storage.file_digest(start)} if start else {}

    def make() -> grading.ExpertTrainer:
        return grading.ExpertTrainer(task, settings, hp.alg.avg_return_window, start)

    def after(work: Work, run: RunFolder) -> None:
        for file in sorted((run.path / "agents").glob("*/*.safetensors")):
            _copy(file, Path(hp.alg.save_path) / f"seed_{work.seed}" / file.parent.name / file.name)

    return program.run(launch, _per_seed(launch, name, grading, inputs, make, shared=False), after)


def train_cooks(launch: Launch) -> int:
    """Train graded agents of Overcooked, one set per seed."""
    hp, name = launch.hp, "train/ippo_ff_overcooked.py"
    task = task_of("overcooked", hp.env_kwargs)
    settings = pick(ippo.IPPOSettings, hp)

    def after(work: Work, run: RunFolder) -> None:
        for file in sorted((run.path / "agents").glob("*/*.safetensors")):
            _copy(file, Path(hp.save_path) / f"seed_{work.seed}" / file.parent.name / file.name)

    works = _per_seed(launch, name, grading, {}, lambda: grading.CookTrainer(task, settings), shared=False)
    return program.run(launch, works, after)
