"""The command line: every flag counts or says that it does not, and mistakes are one line and exit code 2."""

import ast
import dataclasses
import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from common.cli import UserError
from pola.exact import config as config_module
from pola.exact.config import Config, build_parser, parse
from pola.exact.grid_config import GridConfig
from pola.exact.grid_config import parse as parse_grid

HOME = Path(__file__).resolve().parents[3] / "pola"
LIBRARY = HOME / "pola" / "exact"
COMMON = "--n_agents 2 --init_state_representation 2 --set_seed --actual_update"


def resolved(text, common=COMMON):
    return parse(shlex.split(f"{common} {text}"))


def attributes_read(*names):
    """Every attribute that the modules of the library read from anything."""
    return {
        node.attr
        for name in names
        for node in ast.walk(ast.parse((LIBRARY / f"{name}.py").read_text("utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }


def test_every_field_is_read_where_things_are_computed_or_shown():
    read = attributes_read("experiment", "run", "printing", "value_plots")
    assert {field.name for field in dataclasses.fields(Config)} <= read


def test_every_field_of_the_grid_is_read():
    assert {field.name for field in dataclasses.fields(GridConfig)} <= attributes_read("grid")


# For each field that changes what is computed: two commands that differ in it alone.
CHANGES = {
    "cf": ("--base_cf_no_scale 1.2", ""),
    "gamma": ("--gamma 0.9", ""),
    "repeats": ("--repeats 2", ""),
    "epochs": ("--num_epochs 3", ""),
    "seed": ("--seed 2", ""),
    "policy": ("--using_nn", ""),
    "precondition": ("--ill_condition", ""),
    "std": ("--std 0.2", ""),
    "hidden": ("--using_nn --nn_hidden_size 4", "--using_nn"),
    "extra_layers": ("--using_nn --nn_extra_hidden_layers 1", "--using_nn"),
    "nonlinearity": ("--using_nn --nonlinearity lrelu", "--using_nn"),
    "fixed_net": ("--using_nn --nn_hidden_size 2 --custom_param 3", "--using_nn --nn_hidden_size 2"),
    "stretch": ("--using_nn --ill_condition --dd_stretch_factor 5", "--using_nn --ill_condition"),
    "start_state": ("--init_state_representation 1", ""),
    "horizon": ("--exact_finite_horizon --rollout_len 9", ""),
    "lr_in": ("--lr_policies_inner 0.7", ""),
    "lr_out": ("--lr_policies_outer 0.7", ""),
    "beta_in": ("--inner_beta 0.7", ""),
    "beta_out": ("--outer_beta 0.7", ""),
    "inner_steps": ("--inner_steps 2", ""),
    "outer_steps": ("--outer_steps 2", ""),
    "taylor": ("", None),
    "inner_prox": ("--inner_beta 1 --inner_exact_prox", "--inner_beta 1"),
    "inner_weighted": (
        "--inner_beta 1 --inner_exact_prox --visitation_weighted_kl",
        "--inner_beta 1 --inner_exact_prox",
    ),
    "inner_max": ("--inner_beta 1 --inner_exact_prox --prox_inner_max_iters 9", "--inner_beta 1 --inner_exact_prox"),
    "outer_prox": ("--outer_exact_prox", ""),
    "threshold": ("--outer_exact_prox --prox_threshold 1e-4", "--outer_exact_prox"),
    "rounded_kl": ("--outer_exact_prox --prox_threshold 1e-8 --kl_test float32", "--outer_exact_prox --prox_threshold 1e-8"),
    "outer_max": ("--outer_exact_prox --prox_outer_max_iters 9", "--outer_exact_prox"),
    "plain_outer": ("--ill_condition --outer_plain_logits", "--ill_condition"),
    "adam": ("--using_nn --optim adam", "--using_nn"),
    "om": ("--opp_model --om_exact", ""),
    "om_matrix": ("--opp_model --om_exact --om_precond --precondition opponent-defects", "--opp_model --om_exact --om_precond"),
    "om_rate": ("--opp_model --om_exact --om_lr_p 0.1", "--opp_model --om_exact"),
    "om_threshold": ("--opp_model --om_exact --om_threshold 1e-5", "--opp_model --om_exact"),
    "engine": ("--engine higher", ""),
    "dtype": ("--dtype float64", ""),
}  # fmt: skip


def test_the_table_of_changes_is_complete():
    assert set(CHANGES) == set(resolved("").identity())


@pytest.mark.parametrize("field", CHANGES)
def test_a_flag_changes_its_field_and_the_address_and_nothing_else(field):
    changed, plain = CHANGES[field]
    one = resolved(changed).identity()
    other = resolved(plain).identity() if plain is not None else parse(["--set_seed"]).identity()
    assert {key for key in one if one[key] != other[key]} == {field}
    json.dumps(one, allow_nan=False)


@pytest.mark.parametrize(
    "flags",
    ["--print_every 3", "--print_inner_rollouts", "--value_plots", "--checkpoint_seconds 1", "--device cuda", "--run_root x"],
)  # fmt: skip
def test_presentation_does_not_name_another_run(flags):
    assert resolved(flags).identity() == resolved("").identity()


@pytest.mark.parametrize("flag", [*config_module._DEAD_NUMBERS, *config_module._DEAD_WORDS])
def test_dead_flags_are_accepted_with_one_line(flag, capsys):
    assert resolved(f"{flag} 3").identity() == resolved("").identity()
    error = capsys.readouterr().err
    assert flag in error and "does nothing" in error and error.count("\n") == 1


def test_the_dead_switch_is_accepted_with_one_line(capsys):
    resolved("--taylor_with_actual_update")
    assert capsys.readouterr().err == "LOLA_exact.py: --taylor_with_actual_update does nothing\n"


@pytest.mark.parametrize(
    "flags",
    [
        "--nn_hidden_size 4", "--nonlinearity lrelu", "--dd_stretch_factor 3", "--precondition opponent-defects",
        "--outer_plain_logits", "--using_nn --std 0.5", "--rollout_len 9", "--prox_threshold 1e-3", "--kl_test float32",
        "--prox_outer_max_iters 3", "--prox_inner_max_iters 3", "--visitation_weighted_kl", "--om_exact", "--om_lr_p 0.1",
        "--om_threshold 1e-3", "--om_using_nn", "--om_precond", "--outer_exact_prox --inner_steps 3",
    ],
)  # fmt: skip
def test_a_flag_without_effect_here_says_so_and_changes_nothing(flags, capsys):
    plain = " ".join(flag for flag in ("--using_nn", "--outer_exact_prox") if flag in flags.split())
    assert resolved(flags).identity() == resolved(plain).identity()
    error = capsys.readouterr().err
    assert "does nothing" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("--n_agents 3", "--n_agents 2"),
        ("--n_agents_list 2 3", "two-player"),
        ("--base_cf_no_scale 1", "between 1 and 2"),
        ("--base_cf_no_scale 2", "between 1 and 2"),
        ("--base_cf_no_scale -1.33", "between 1 and 2"),
        ("--gamma 1", "at least 0 and below 1"),
        ("--gamma -0.1", "at least 0 and below 1"),
        ("--num_epochs 0", "at least 1"),
        ("--repeats -3", "at least 1"),
        ("--inner_steps 0", "at least 1"),
        ("--lr_policies_inner 0", "above 0"),
        ("--lr_policies_outer -1", "above 0"),
        ("--outer_exact_prox --prox_threshold 0", "above 0"),
        ("--inner_beta -1", "at least 0"),
        ("--std -0.1", "at least 0"),
        ("--seed -1", "at least 0"),
        ("--history_len 2", "one-step memory"),
        ("--init_state_representation 0", "1 or 2"),
        ("--opp_model", "--om_exact"),
        ("--opp_model --om_exact --om_using_nn --om_precond", "one of"),
        ("--optim adam", "--using_nn"),
        ("--custom_param 1", "--nn_hidden_size 2"),
        ("--using_nn --nn_hidden_size 2 --custom_param mix", "1 to 4"),
        ("--inner_exact_prox", "--inner_beta"),
        ("--inner_exact_prox --inner_beta 1 --inner_steps 2", "--inner_steps"),
        ("--outer_exact_prox --inner_beta 1", "--inner_exact_prox"),
        ("--ill_condition --using_nn --opp_model --om_exact --om_precond --outer_plain_logits", "tabular"),
        ("--engine higher --inner_exact_prox --inner_beta 1", "--engine batched"),
        ("--engine higher --device cuda", "--engine batched"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_would(flags, says):
    with pytest.raises(UserError) as refusal:
        resolved(flags)
    assert says in str(refusal.value)


@pytest.mark.parametrize(
    "flags", ["--outer_exact_prox", "--inner_steps 2", "--outer_beta 1", "--opp_model --om_exact"]
)
def test_first_order_lola_refuses_what_it_does_not_know(flags):
    with pytest.raises(UserError, match="--actual_update"):
        resolved(flags, common="--set_seed")


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--nope"], "unknown flag --nope"),
        (["--num_epoch", "3"], "did you mean --num_epochs?"),  # no abbreviations
        (["--num_epochs", "many"], "many"),
        (["--gamma", "nan"], "not a finite number"),
        (["--lr_policies_inner", "inf"], "not a finite number"),
        (["--env", "coin"], "coin"),
        (["--base_cf_no_scale", "3"], "between 1 and 2"),
        (["--device", "tpu"], "tpu"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(argv, says, tmp_path):
    command = [sys.executable, "LOLA_exact.py", *argv, "--run_root", str(tmp_path)]
    done = subprocess.run(command, cwd=HOME, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and says in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert done.stdout == "" and list(tmp_path.iterdir()) == []


def test_both_spellings_of_the_number_of_players():
    assert parse(["--set_seed", "--n_agents", "2"]) == parse(["--set_seed", "--n_agents_list", "2"])


def test_without_set_seed_a_seed_is_drawn(capsys):
    assert parse(["--seed", "7"]).seed != parse(["--seed", "7"]).seed
    assert "--seed does nothing without --set_seed" in capsys.readouterr().err
    assert parse(["--set_seed", "--seed", "7"]).seed == 7


def test_every_recorded_command_parses_without_a_word(capsys):
    runs = json.loads((Path(__file__).parents[1] / "golden" / "exact_runs.json").read_text())
    for run in runs.values():
        assert parse(shlex.split(run["command"])).repeats == run["n_repeats"]
    assert capsys.readouterr().err == ""


def test_configuration_loads_no_numerics():
    code = "import sys, pola.exact.config, pola.exact.grid_config; print('torch' in sys.modules or 'jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False", done.stderr


def test_help_names_every_flag():
    text = build_parser().format_help()
    assert all(
        option in text for option in ("--n_agents_list", "--outer_exact_prox", "--precondition", "--om_lr_p")
    )


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--base_cf_no_scale", "2.5"], "between 1 and 2"),
        (["--lr_policies_inner", "0"], "above 0"),
        (["--lr_policies_outer", "1", "1"], "twice"),
        (["--repeats", "0"], "at least 1"),
        (["--gamma", "1"], "at least 0 and below 1"),
        (["--seed", "-1"], "at least 0"),
    ],
)
def test_the_grid_refuses_numbers_out_of_range(argv, says):
    with pytest.raises(UserError) as refusal:
        parse_grid(argv)
    assert says in str(refusal.value)
