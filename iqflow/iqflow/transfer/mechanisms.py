"""Where the mechanism comes from: a file, or a training run that is found, waited for, or carried out."""

from __future__ import annotations

from pathlib import Path

from common.cli import UserError
from common.runs import RunSpec, find, locked, source_digest
from iqflow.config.loading import Launch
from iqflow.trainer import frozen, program, storage, train_multiprocess
from iqflow.trainer.mechanisms import Frozen
from iqflow.trainer.training import Trainer
from iqflow.transfer.settings import Transfer


def _root(transfer: Transfer, script: Path) -> Path:
    if transfer.run_root:
        return Path(transfer.run_root)
    return program.repository_of(script) / "results" / "iqflow" / "runs"


def _addresses(launch: Launch, script: Path) -> dict[int, str]:
    """The address that ``train_multiprocess.py`` gives the training run of every seed."""
    repository = program.repository_of(script)
    digest = source_digest(script, [repository / "iqflow", repository])
    name = str(script.resolve().relative_to(repository / "iqflow"))
    return {seed: RunSpec(name, launch.identity(seed), digest).address for seed in launch.seeds}


def _trained(transfer: Transfer) -> dict[int, Path]:
    """The newest file of agents of every seed's training run; trains what is not there.

    One process trains, the others of the same run root wait for it.

    Raises:
        UserError: a training run failed, or its agents are gone.
    """
    script = Path(train_multiprocess.__file__)
    root = _root(transfer, script)
    launch = transfer.training(transfer.seeds)
    addresses = _addresses(launch, script)
    with locked(root / ".mechanisms.lock", "the mechanisms"):
        missing = tuple(seed for seed, address in addresses.items() if not find(root, address).finished)
        if missing:
            here = Transfer(**{**vars(transfer), "run_root": str(root)})
            program.run(here.training(missing), script, Trainer)
    files = {}
    for seed, address in addresses.items():
        run = find(root, address)
        if not run.finished:
            raise UserError(f"the mechanism of seed {seed} could not be trained; see {root / address}")
        saved = storage.saved_agents(run.path / "agents")
        if not saved:
            raise UserError(
                f"the run in {run.path} is finished, but its agents lie elsewhere; name them with --mechanism"
            )
        files[seed] = saved[-1]
    return files


def mechanisms(transfer: Transfer) -> dict[int, Frozen]:
    """The frozen mechanism of every seed; empty when nobody pays.

    Raises:
        UserError: a file that can't be used, or one that was trained on another map or game.
    """
    if transfer.reward != "incentive":
        return {}
    if transfer.mechanism:
        files = dict.fromkeys(transfer.seeds, transfer.mechanism)
    else:
        files = _trained(transfer)
    loaded = {path: frozen.load(path, transfer.settings) for path in set(files.values())}
    return {seed: loaded[path] for seed, path in files.items()}
