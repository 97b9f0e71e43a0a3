"""Agents from files. No file can run code: everything is NPZ without pickles.

A folder of agents (`--agents DIR`) holds one entry per agent, named as the agent is to be called:

    DIR/loqa_42/minimal_state_6000     a LOQA run's `agents` folder, or a copy; the newest state of a folder is taken
    DIR/loqa_norb_42/minimal_state_6000
    DIR/pola_new_0                     a file of our POLA program (`--save_dir`), any name
    DIR/mfos_42.npz                    M-FOS, see `league.mfos`

With `DIR/agents.json`, `{"agents": [{"name": "loqa_42", "file": "loqa_42/minimal_state_6000", "family": "LOQA"}, ...]}`,
exactly these are taken, in this order; `family` may be left out. Kinds of files, recognised by their content:

* LOQA: `loqa.storage` (`agent0/params/actor_head/ScanPOLAGruCell_0/...`; the meta's `hp` gives board and family), or a
  plain NPZ with the names `actor_head/ScanPOLAGruCell_0/...`. Agent 0 plays both seats.
* POLA: a checkpoint of our POLA program, the same container (a line that names it, a SHA-256, an NPZ) with the arrays
  `agents/networks/policy/{linear1,linear2,linear_end}/{kernel,bias}`, `.../GRUCell/{ir,iz,in}/{kernel,bias}`,
  `.../GRUCell/{hr,hz}/kernel`, `.../GRUCell/hn/{kernel,bias}`, each with a first axis of two players, or a plain NPZ
  with the names below `policy/`, without that axis. The first player's policy plays both seats (its observation is
  egocentric); its actions are right, left, down, up.
* M-FOS: a plain NPZ as in `league.mfos`.
"""

import hashlib
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from common import checkpoints
from common.cli import UserError
from loqa import storage
from loqa.coin.agents import BLOCK
from loqa.coin.game import N_ACTIONS, CoinGame
from loqa.league import mfos
from loqa.league.agents import Agent, RecurrentPolicy

MANIFEST = "agents.json"
_POLA_ARRAYS = "agents/networks/policy/"
_GATES = {"ir": True, "iz": True, "in": True, "hr": False, "hz": False, "hn": True}


def load_agent(path: Path, name: str, game: CoinGame, family: str = "", mfos_carried: bool = False) -> Agent:
    """One agent from its file.

    Args:
        family: as the league is to count it; "" to take it from the file.
        mfos_carried: see `mfos.MfosPolicy`.

    Raises:
        UserError: no file, a damaged or foreign one, another board, another network.
    """
    path = Path(path)
    arrays, meta = _read(path)
    if meta.get("format") == storage.FORMAT or any(key.startswith("actor_head/") for key in arrays):
        found = _loqa(path, arrays, meta, game)
    elif _POLA_ARRAYS + "linear_end/kernel" in arrays or "linear_end/kernel" in arrays:
        found = _pola(path, arrays, game)
    elif set(mfos.ARRAYS) <= set(arrays):
        found = _mfos(path, arrays, game, mfos_carried)
    else:
        raise UserError(f"{path} holds no LOQA, POLA or M-FOS agent (its arrays have other names)")
    policy, params, own_family = found
    return Agent(name, family or own_family, policy, params, hashlib.sha256(path.read_bytes()).hexdigest())


def load_folder(folder: Path, game: CoinGame, mfos_carried: bool = False) -> list[Agent]:
    """Every agent of a folder (see the head of this file), in its order.

    Raises: UserError as `load_agent`; also an unreadable list, or a name that comes twice.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"no folder of agents at {folder}")
    listed = _listed(folder) if (folder / MANIFEST).exists() else _found(folder)
    agents = [load_agent(path, name, game, family, mfos_carried) for name, path, family in listed]
    names = [agent.name for agent in agents]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"{folder} has two agents named {twice[0]}; names must differ")
    if slashed := [name for name in names if "/" in name or not name]:
        raise UserError(f"{folder} has an agent named {slashed[0]!r}; a name is not empty and has no slash")
    return agents


def _natural(text: str) -> list:
    """A key that sorts 9 before 10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", text)]


def newest_state(folder: Path) -> Path:
    """The file `minimal_state_N` of the greatest N in a folder. Raises UserError when there is none."""
    states = sorted(Path(folder).glob("minimal_state_*"), key=lambda state: _natural(state.name))
    if not states:
        raise UserError(f"{folder} holds no agent (minimal_state_N)")
    return states[-1]


def _found(folder: Path) -> list[tuple[str, Path, str]]:
    entries = []
    for path in sorted(folder.iterdir(), key=lambda path: _natural(path.name)):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            entries.append((path.name, newest_state(path), ""))
        else:
            entries.append((path.stem if path.suffix == ".npz" else path.name, path, ""))
    return entries


def _listed(folder: Path) -> list[tuple[str, Path, str]]:
    path = folder / MANIFEST
    try:
        entries = json.loads(path.read_text("utf-8"))["agents"]
        listed = [(entry["name"], folder / entry["file"], entry.get("family", "")) for entry in entries]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        wrong = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{path} can't be read ({wrong}); see league/loaders.py for its form") from None
    unknown = [key for entry in entries for key in entry if key not in ("name", "file", "family")]
    if unknown:
        raise UserError(
            f"{path} has the key {unknown[0]}, which nothing reads; name, file and family are known"
        )
    return listed


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict]:
    """Arrays and meta of a checkpoint of this project, or of a plain NPZ (then without meta)."""
    try:
        with open(path, "rb") as file:
            start = file.read(4)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise UserError(f"no agent at {path}") from None
    if start != b"PK\x03\x04":
        return checkpoints.load(path)
    try:
        with zipfile.ZipFile(path) as archive:
            if any(entry.endswith("data.pkl") for entry in archive.namelist()):
                raise UserError(
                    f"{path} is a torch checkpoint, which could run code when it is read; "
                    "make an NPZ of it as the head of loqa/league/mfos.py says"
                )
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}, {}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        raise UserError(f"{path} can't be read as an agent: {error}") from None


def _check(path: Path, arrays: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]) -> None:
    for name, shape in shapes.items():
        if name not in arrays:
            raise UserError(f"{path} lacks the array {name}: another network than the league knows")
        found = arrays[name]
        if found.shape != shape or found.dtype != np.float32:
            raise UserError(
                f"{path} does not fit: {name} is {found.dtype}{list(found.shape)}, it should be float32{list(shape)}"
            )
        if not np.isfinite(found).all():
            raise UserError(f"{path} holds numbers in {name} that are not finite")


def _block(path: Path, arrays: dict[str, np.ndarray], game: CoinGame) -> dict:
    """A recurrent block's parameters (names without prefix), checked, as `loqa.coin.agents` keeps a head."""
    extra = [
        name for name in arrays if name.split("/")[0] not in ("linear1", "linear2", "linear_end", "GRUCell")
    ]
    if extra:
        raise UserError(f"{path} has the array {extra[0]}: another network than the league knows")
    if arrays.get("GRUCell/hn/bias", np.zeros(())).ndim != 1:
        raise UserError(f"{path} lacks the array GRUCell/hn/bias: another network than the league knows")
    (hidden,) = arrays["GRUCell/hn/bias"].shape
    shapes, width = {}, game.observation_size
    for layer in ("linear1", "linear2"):
        if f"{layer}/kernel" in arrays:
            shapes |= {f"{layer}/kernel": (width, hidden), f"{layer}/bias": (hidden,)}
            width = hidden
    first = "linear1/kernel" if "linear1/kernel" in arrays else "GRUCell/ir/kernel"
    if first in arrays and arrays[first].ndim == 2 and arrays[first].shape[0] != game.observation_size:
        raise UserError(
            f"{path} is an agent for observations of {arrays[first].shape[0]} numbers; the league is played on "
            f"{game.height} x {game.width} cells, where they have {game.observation_size}"
        )
    for gate, biased in _GATES.items():
        shapes[f"GRUCell/{gate}/kernel"] = (width if gate[0] == "i" else hidden, hidden)
        if biased:
            shapes[f"GRUCell/{gate}/bias"] = (hidden,)
    shapes |= {"linear_end/kernel": (hidden, N_ACTIONS), "linear_end/bias": (N_ACTIONS,)}
    _check(path, arrays, shapes)
    return {BLOCK: checkpoints.nested({name: arrays[name] for name in shapes})}


def _below(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name[len(prefix) :]: value for name, value in arrays.items() if name.startswith(prefix)}


def _loqa(path: Path, arrays, meta, game: CoinGame):
    hp = meta.get("hp", {})
    board = hp.get("game", {})
    if board and (board.get("height"), board.get("width")) != (game.height, game.width):
        raise UserError(
            f"{path} was trained on {board.get('height')} x {board.get('width')} cells; the league is played on "
            f"{game.height} x {game.width}"
        )
    prefix = "agent0/params/" if meta else ""
    block = _block(path, _below(arrays, f"{prefix}actor_head/{BLOCK}/"), game)
    return RecurrentPolicy(), block, family_of(hp)


def family_of(hp: Mapping) -> str:
    """The family of a LOQA run by its `hp` tree: LOQA itself, or the ablation that it is."""
    if hp.get("agent_0", "loqa") != "loqa":
        return hp["agent_0"]
    if hp.get("agent_replay_buffer", {}).get("mode", "enabled") == "disabled":
        return "LOQA-noRB"
    return "LOQA" if hp.get("just_self_play", True) else "LOQA-noSP"


def _pola(path: Path, arrays, game: CoinGame):
    policy = _below(arrays, _POLA_ARRAYS)
    if policy:
        if any(value.ndim == 0 or value.shape[0] != 2 for value in policy.values()):
            raise UserError(f"{path} is not a POLA checkpoint of two players")
        policy = {name: value[0] for name, value in policy.items()}
    # DEVIATION(Q16): sizes come from the arrays and the network is `loqa.coin.agents`', so POLA's agents load with the
    # same libraries as all others (the original needed flax < 0.7 for them and >= 0.7 for the rest)
    block = _block(path, policy or dict(arrays), game)
    return RecurrentPolicy(RecurrentPolicy.POLA_ORDER), block, "POLA"


def _mfos(path: Path, arrays, game: CoinGame, carried: bool):
    if arrays["conv1.weight"].ndim != 4 or arrays["gru.weight_hh"].ndim != 2:
        raise UserError(f"{path} is not an M-FOS agent: its arrays have other ranks")
    _check(path, arrays, mfos.expected_shapes(arrays, game.height, game.width))
    params = {name: arrays[name] for name in mfos.ARRAYS}
    return mfos.MfosPolicy(game.height, game.width, carried), params, "M-FOS"
