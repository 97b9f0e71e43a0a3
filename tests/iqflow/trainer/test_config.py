"""The eleven configurations, and what is said of one that does not suit."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from common.cli import UserError
from iqflow.config import settings as s
from iqflow.config.loading import DEFAULT, names, parse, read_tree

PAPER = Path(__file__).resolve().parents[3] / "iqflow"

#: (algorithm, experiment, configuration): every row of the README
COMMANDS = [
    ("qflow", "ipd", "config_img_qflow"),
    ("qflow", "chicken", "config_img_qflow"),
    ("qflow", "stag_hunt", "config_img_qflow"),
    ("qflow", "er", "config_er_qflow"),
    ("qflow", "er", "config_er_qflow2"),
    ("id", "er", "config_er_id"),
    ("id", "er", "config_er_id2"),
    ("pg", "er", "config_er_pg"),
    ("qflow", "ssd", "config_ssd_qflow"),
    ("qflow", "ssd", "config_ssd_qflow2"),
    ("id", "ssd", "config_ssd_id"),
    ("id", "ssd", "config_ssd_id2"),
    ("pg", "ssd", "config_ssd_pg"),
]
IPD = "--alg qflow --exp ipd --config config_img_qflow"


def parsed(words):
    return parse(words.split())


@pytest.mark.parametrize(("alg", "exp", "config"), COMMANDS)
def test_every_command_of_the_readme_is_understood(alg, exp, config):
    launch = parsed(f"--alg {alg} --exp {exp} --n_seeds 5 --config {config}")
    assert launch.seeds == (12340, 12341, 12342, 12343, 12344)
    assert (launch.settings.alg, launch.settings.exp) == (alg, exp)


def test_there_are_eleven_and_the_original_default():
    assert len(names()) == 11
    assert parsed("").config == DEFAULT == "config_ssd_qflow2"


@pytest.mark.parametrize(
    ("config", "section", "values"),
    [
        (
            "config_img_qflow",
            "qflow",
            {"lr_reward": 0.003, "entropy_coeff": 0.05, "start_train": 200, "obj_mask": True},
        ),
        ("config_er_qflow", "qflow", {"lr_actor": 9.56e-05, "cost_reg_coeff": 0.5, "cost_reg_coeff2": 0.005}),
        ("config_er_qflow2", "env", {"n_agents": 10, "min_at_lever": 5, "r_multiplier": 2.0}),
        ("config_er_id", "id", {"lr_reward": 0.000793, "lr_cost": 6.03e-05, "optimizer": "adam"}),
        ("config_er_id2", "id", {"entropy_coeff": 0.1, "lr_cost": 1.03e-05}),
        ("config_er_pg", "alg", {"n_episodes": 20000, "n_eval": 10, "period": 100}),
        ("config_ssd_qflow", "main", {"agent_reset_period": 2000, "save_period": 2000, "max_to_keep": 12}),
        (
            "config_ssd_qflow2",
            "qflow",
            {"lr_reward": 0.0001184731, "use_mini_init": True, "start_train": 300},
        ),
        ("config_ssd_id", "id", {"lr_v": 0.000554, "lr_v_model": 2.4e-05, "reg_coeff": 0.0001}),
        ("config_ssd_id2", "alg", {"n_episodes": 5000}),
        ("config_ssd_pg", "nn", {"n_filters": 6, "kernel": [3, 3], "n_h1": 64}),
    ],
)
def test_values_are_those_of_the_spec(config, section, values):
    tree = read_tree(config)[section]
    assert {name: tree[name] for name in values} == values


def test_the_two_missing_keys_are_supplied():
    small = parsed("--exp er --config config_er_qflow").settings
    large = parsed("--exp ssd --config config_ssd_qflow2").settings
    assert small.method.mech_buffer_size == large.method.mech_buffer_size == 1_000_000
    assert large.main.agent_reset_period == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--alg pg --exp ipd", "not implemented for --exp ipd"),
        ("--alg id --exp chicken --config config_er_id", "not implemented for --exp chicken"),
        ("--exp er --config config_img_qflow", "for that --config config_er_qflow or config_er_qflow2"),
        ("--exp ssd --config config_ssd_pg", "config_ssd_pg is for --alg pg --exp ssd, not for --alg qflow"),
        ("--config config_ipd_qflow", "unknown configuration 'config_ipd_qflow'"),
        (f"{IPD} --set qflow.gama=1", "unknown key qflow.gama; did you mean qflow.gamma?"),
        (f"{IPD} --set qflow.buffer_size=9", "qflow.buffer_size is read by nobody"),
        (f"{IPD} --set qflow.epsilon_start=0.5", "has no effect"),
        (f"{IPD} --set qflow.lr_v=0.1", "actor-critic followers only"),
        (f"{IPD} --set main.seed=3", "--seed_base"),
        (f"{IPD} --set env.name=chicken", "--exp names the environment"),
        (f"{IPD} --set env.r_multiplier=-1", "a number from 0 on"),
        (f"{IPD} --set nn.n_h1=1.5", "nn.n_h1=1.5"),
        (f"{IPD} --set foo=1", "--set 'foo=1' can't be read"),
        (f"{IPD} --set qflow=1", "can't be read"),
        (f"{IPD} --set extra.key=1", "unknown section extra"),
        (f"{IPD} --seed 1 --n_seeds 2", "exclude each other"),
        (f"{IPD} --n_seeds 0", "at least 1"),
        (f"{IPD} --device cpu --gpus 1", "--gpus is not read with --device cpu"),
        (f"{IPD} --seed -1", "from 0 to"),
        ("--exp er --config config_er_qflow --set env.min_at_lever=6", "more than env.n_agents=5"),
        ("--exp er --config config_er_qflow --set qflow.use_actor_critic=true", "qflow.lr_v is missing"),
        ("--exp er --alg id --config config_er_id --set id.reg_coeff=1", "id.reg_coeff is not read"),
        ("--exp er --alg pg --config config_er_pg --set env.r_multiplier=1", "pays no incentives"),
        ("--set env.view_size=3", "env.obs_height=15; with env.view_size=3 it has to be 7"),
        ("--set env.map_name=nowhere", "env.map_name='nowhere'"),
        ("--set env.obs_cleaned_1hot=true", "read by --alg id only"),
        ("--exp ssd --alg id --config config_ssd_id --set id.decentralized=true", "id.decentralized=True"),
        ("--set qflow.use_actor_critic=false", "it has to be True"),
        ("--set qflow.cost_type=1", "cost_reg_coeff2 is not read"),
    ],
)
def test_bad_input_is_named(words, told):
    with pytest.raises(UserError, match=".") as error:
        parsed(words)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[alg]\nn_episodes = 1\n", "one of the sections qflow, id, pg"),
        ("nonsense", "is not TOML"),
        ("qflow = 3\n[env]\n", "section alg is missing"),
    ],
)
def test_a_file_of_ones_own_is_checked_too(tmp_path, content, told):
    path = tmp_path / "mine.toml"
    path.write_text(content)
    with pytest.raises(UserError) as error:
        parsed(f"--exp ipd --config {path}")
    assert told in str(error.value)


def test_a_missing_key_of_a_file_is_named(tmp_path):
    path = tmp_path / "mine.toml"
    text = (PAPER / "iqflow/config/config_img_qflow.toml").read_text()
    path.write_text(text.replace("gamma = 0.99\n", ""))
    with pytest.raises(UserError, match="qflow.gamma is missing"):
        parsed(f"--exp ipd --config {path}")


def test_a_map_of_ones_own(tmp_path):
    path = tmp_path / "map.txt"
    path.write_text("@@@@@@\n@H PB@\n@H PB@\n@@@@@@\n")
    launch = parsed(f"--exp ssd --config config_ssd_qflow --set env.map_name={path}")
    assert launch.identity()["config"]["env"]["map_name"] == ("@@@@@@", "@H PB@", "@H PB@", "@@@@@@")
    path.write_text("@@@@@@\n@H XB@\n@@@@@@\n")
    with pytest.raises(UserError, match="'X'"):
        parsed(f"--exp ssd --config config_ssd_qflow --set env.map_name={path}")


def test_the_address_counts_what_is_computed_and_not_where_it_goes():
    plain = parsed(IPD).identity()
    assert parsed(f"{IPD} --set main.dir_name=elsewhere --gpus 3").identity() == plain
    assert parsed(f"{IPD} --set env.r_multiplier=0").identity() != plain
    assert parsed(f"{IPD} --seed_base 1").identity() != plain
    assert parsed(IPD.replace("ipd", "chicken")).identity() != plain


def test_the_games_do_not_share_a_folder():
    folders = {
        parsed(IPD.replace("--exp ipd", f"--exp {game}")).output_folder(12341) for game in s.MATRIX_GAMES
    }
    assert {str(folder) for folder in folders} == {
        f"results/img_results/iqflow/{game}/ipd_iqflow_1" for game in s.MATRIX_GAMES
    }


def test_a_saved_configuration_is_read_back():
    from iqflow.config.loading import resolve

    for alg, exp, config in COMMANDS:
        settings = parsed(f"--alg {alg} --exp {exp} --config {config}").settings
        assert resolve("saved", settings.tree(), alg, exp) == settings


def _fields(kind):
    for item in dataclasses.fields(kind):
        yield item.name


def test_every_key_is_read_somewhere():
    """A field that no module but the definitions names would be a flag without effect."""
    package = PAPER / "iqflow"
    sources = [path for path in package.rglob("*.py") if path.name != "settings.py"]
    text = "\n".join(path.read_text() for path in sources)
    kinds = [kind for kind in vars(s).values() if dataclasses.is_dataclass(kind)]
    unread = {
        f"{kind.__name__}.{name}"
        for kind in kinds
        for name in _fields(kind)
        if f".{name}" not in text and f'"{name}"' not in text
    }
    assert not unread


def test_a_mistake_costs_one_line_and_code_2(tmp_path):
    command = [sys.executable, "train_multiprocess.py", "--alg", "pg", "--exp", "ipd"]
    done = subprocess.run(command, cwd=PAPER / "iqflow/trainer", capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == "" and done.stderr.count("\n") == 1
    done = subprocess.run(
        [*command, "--n_seed", "1"], cwd=PAPER / "iqflow/trainer", capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "did you mean --n_seeds?" in done.stderr
