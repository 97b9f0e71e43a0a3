"""Command lines of the sampled games: what they mean, what is refused, and that every field is read."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pola.dice
from common.cli import UserError
from pola.dice.config import DEAD_NUMBERS, DEAD_SWITCHES, PRESENTATION, Config, parse

SOURCES = [path for path in Path(pola.dice.__path__[0]).glob("*.py") if path.name != "config.py"]

README = {
    "ipd lola": "--env ipd --n_update 20001 --inner_steps 1 --outer_steps 1 --lr_in 0.05 --batch_size 2000 "
    "--print_every 10 --outer_beta 0 --inner_beta 0 --seed 6 --checkpoint_every 1000 --contrib_factor 1.33 --save_dir",
    "ipd om": "--env ipd --n_update 101 --inner_steps 2 --outer_steps 200 --lr_in 0.005 --batch_size 2000 "
    "--print_every 1 --inner_beta 10 --outer_beta 100 --seed 10 --checkpoint_every 10 --opp_model "
    "--opp_model_steps 1 --opp_model_data_batches 200 --om_lr_p 0.005 --om_lr_v 0.0005",
    "coin pola": "--env coin --n_update 251 --inner_steps 4 --outer_steps 200 --lr_in 0.01 --batch_size 1000 "
    "--print_every 1 --outer_beta 150 --inner_beta 5 --seed 7 --checkpoint_every 25",
}
COMMON = (
    "--gae_lambda 1.0 --rollout_len 50 --layers_before_gru 1 --hidden_size 64 --lr_v 0.0005 --lr_out 0.003"
)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Config)])
def test_every_field_is_read(field):
    pattern = re.compile(rf"\bconfig\.{field}\b")
    assert any(pattern.search(path.read_text("utf-8")) for path in SOURCES), f"nobody reads {field}"


def test_the_published_commands_are_understood():
    lola, model, coin = (parse(f"{COMMON} {line}".split()) for line in README.values())
    assert (lola.seeds, lola.save_dir, lola.contrib_factor, lola.eval_every) == ((6,), ".", 1.33, 10)
    assert (model.opp_model_steps_per_batch, model.opp_model_data_batches) == (1, 200)
    assert (model.om_lr_p, model.om_lr_v, model.eval_every) == (0.005, 0.0005, 1)
    assert (coin.inner_steps, coin.same_coin_reward, coin.diff_coin_cost) == (4, 1.0, -2.0)
    assert coin.contrib_factor is None and lola.same_coin_reward is None


def test_rates_of_the_model_default_to_the_agents():
    config = parse(["--opp_model", "--lr_out", "0.007", "--lr_v", "0.002"])
    assert (config.om_lr_p, config.om_lr_v) == (0.007, 0.002)
    assert parse([]).om_lr_p is None


#: a value other than the default for every flag that is live, in a game that has it
LIVE = {
    "inner_steps": "2", "outer_steps": "3", "lr_in": "0.1", "lr_out": "0.1", "lr_v": "0.1", "gamma": "0.5",
    "gae_lambda": "0.5", "n_update": "7", "rollout_len": "7", "batch_size": "7", "hidden_size": "7",
    "layers_before_gru": "0", "inner_beta": "1", "outer_beta": "1", "rev_kl": None, "optim": "sgd",
    "persistent_adam": None, "no_baseline": None, "zero_vals": None, "seed": "5", "eval_every": "3",
    "contrib_factor": "1.5", "init_state_coop": None, "same_coin_reward": "2", "diff_coin_reward": "2",
    "diff_coin_cost": "-1", "opp_model": None, "opp_model_steps_per_batch": "2", "opp_model_steps": "2",
    "opp_model_data_batches": "2", "om_lr_p": "0.3", "om_lr_v": "0.3",
}  # fmt: skip
_IPD = {"contrib_factor", "init_state_coop"}


@pytest.mark.parametrize("flag", LIVE)
def test_every_live_flag_makes_another_run(flag):
    base = ["--env", "ipd"] if flag in _IPD else []
    base += ["--opp_model"] if flag.startswith(("opp_model_", "om_")) else []
    given = [f"--{flag}"] + ([LIVE[flag]] if LIVE[flag] else [])
    assert parse(base + given).identity() != parse(base).identity()


@pytest.mark.parametrize(
    "words", ["--print_every 3", "--checkpoint_every 3", "--save_dir x", "--device cpu", "--seed_axis vmap",
              "--agent_axis vmap", "--run_root x", "--seeds 1"],
)  # fmt: skip
def test_presentation_does_not(words):
    assert parse(words.split()).identity() == parse([]).identity()
    assert words.split()[0][2:] in PRESENTATION


def test_a_batch_of_seeds_has_the_identities_of_its_runs():
    batch = parse(["--seeds", "1-3"])
    assert [batch.identity(seed) for seed in batch.seeds] == [
        parse(["--seed", str(seed)]).identity() for seed in (1, 2, 3)
    ]


@pytest.mark.parametrize("name", DEAD_SWITCHES + DEAD_NUMBERS)
def test_a_dead_flag_says_so_in_one_line(name, capsys):
    words = [f"--{name}"] + (["0.1"] if name in DEAD_NUMBERS else [])
    assert parse(words).identity() == parse([]).identity()
    assert capsys.readouterr().err.splitlines()[-1] == f"POLA_dice_jax.py: --{name} does nothing"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("--env ipd --contrib_factor 2", "between 1 and 2"),
        ("--env ipd --contrib_factor 1", "between 1 and 2"),
        ("--env ipd --contrib_factor nan", "between 1 and 2"),
        ("--contrib_factor 1.5", "--env ipd"),
        ("--env ipd --diff_coin_cost -1", "--env coin"),
        ("--om_lr_p 0.1", "needs --opp_model"),
        ("--gamma 1", "at least 0 and below 1"),
        ("--gamma nan", "at least 0 and below 1"),
        ("--gae_lambda 1.5", "0 to 1"),
        ("--lr_in -0.1", "at least 0"),
        ("--lr_out inf", "finite"),
        ("--inner_steps 0", "at least 1"),
        ("--batch_size 0", "at least 1"),
        ("--grid_size 4", "3 x 3"),
        ("--seeds 3-1", "1-10"),
        ("--seeds 1,x", "1-10"),
        ("--seeds 1,1", "twice"),
        ("--seed 1 --seeds 2", "exclude each other"),
        ("--no_baseline --zero_vals", "exclude each other"),
        ("--optim sgd --persistent_adam", "--optim adam"),
        ("--load_dir here", "--load_prefix"),
        ("--load_prefix nothing_of_that_name", "--save_dir writes them"),
    ],
)
def test_what_makes_no_sense_is_refused(words, hint):
    with pytest.raises(UserError, match=hint):
        parse(words.split())


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("--inner_step 2", "did you mean --inner_steps"),
        ("--no_such_flag", "unknown flag"),
        ("--seed x", "seed"),
    ],
)
def test_unknown_flags_and_abbreviations_exit_with_two(words, hint, capsys):
    with pytest.raises(SystemExit) as stop:
        parse(words.split())
    error = capsys.readouterr().err
    assert stop.value.code == 2 and hint in error and error.count("\n") == 1


def test_reading_a_command_line_loads_no_numerical_library():
    code = (
        "import sys; from pola.dice.config import parse; parse([]); "
        "assert not {'jax', 'torch', 'flax'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
