"""Command lines become frozen trees, and what nobody reads is refused with one line."""

import ast
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from common.cli import UserError
from common.settings import at_least, build, choice, positive
from marlhf import options, programs, settings

PACKAGE = Path(settings.__file__).resolve().parent


@dataclass(frozen=True)
class Inner:
    lr: float = positive()
    mode: str = choice("mean", "argmax")


@dataclass(frozen=True)
class Hp:
    inner: Inner = settings.block()
    seed: int = at_least(0)
    files: tuple[int, ...] = settings.counts(2)
    out: str = settings.place()


TREE = {"inner": {"LR": 0.1, "MODE": "mean"}, "SEED": 1, "FILES": [1, 2], "OUT": "x"}
COUNTS = "it has to be a list of 2 whole numbers from 0 on, for example [1,1]"


def built(**tree):
    return build(Hp, TREE | tree, "", {"OLD": "is read by nothing"}, settings.key_of)


def test_keys_are_capitals_and_blocks_are_not():
    assert built(inner={"LR": 1, "MODE": "argmax"}) == Hp(Inner(1.0, "argmax"), 1, (1, 2), "x")


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ({"SED": 1}, "unknown key SED; did you mean SEED?"),
        ({"inner": TREE["inner"] | {"ZZZ": 1}}, "unknown key inner.ZZZ; there are LR, MODE"),
        ({"inner": {"MODE": "mean"}}, "inner.LR is missing"),
        ({"inner": 3}, "inner is a block of keys, not 3"),
        ({"inner": {"LR": -1, "MODE": "mean"}}, "inner.LR=-1; it has to be a number above 0"),
        ({"SEED": 1.5}, "SEED=1.5; it has to be a number from 0 on"),
        ({"FILES": [1]}, f"FILES=[1]; {COUNTS}"),
        ({"FILES": [1, -1]}, f"FILES=[1, -1]; {COUNTS}"),
        ({"OUT": False}, "OUT=False; it has to be a path"),
        ({"OLD": 1}, "OLD is read by nothing; leave it out"),
    ],
)
def test_what_cannot_be_is_one_line(tree, says):
    with pytest.raises(UserError) as caught:
        built(**tree)
    assert str(caught.value) == says


def test_fields_are_picked_by_name():
    assert settings.pick(Inner, built(), mode="argmax", lr=2.0) == Inner(2.0, "argmax")
    assert settings.pick(Inner, Inner(3.0, "mean")) == Inner(3.0, "mean")


# --- the real programs ---------------------------------------------------------------------------------------------

PROGRAMS = sorted(programs.PROGRAMS)
TRAINING = [name for name in PROGRAMS if "label" not in name]


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_defaults_of_every_program_are_a_whole_configuration(name):
    launch = programs.PROGRAMS[name]([])
    assert launch.seeds == (launch.hp.seed,) and (Path(programs.__file__).parents[1] / name).is_file()


@pytest.mark.parametrize("name", PROGRAMS)
def test_seeds_come_from_the_key_or_the_flags(name):
    parse = programs.PROGRAMS[name]
    assert parse(["SEED=7"]).seeds == (7,)
    assert parse(["--seed", "8", "SEED=7"]).seeds == (8,)
    several = parse(["--seeds", "42-44"])
    assert several.seeds == (42, 43, 44) and several.hp.seed == 42
    assert several.identity(43) == parse(["SEED=43"]).identity()


@pytest.mark.parametrize("name", sorted(programs.DEAD))
def test_a_key_of_the_original_that_nothing_reads_is_refused_with_the_reason(name):
    for key, reason in programs.DEAD[name].items():
        for word in (f"{key}=1", f"+{key}=1"):
            with pytest.raises(UserError) as caught:
                programs.PROGRAMS[name]([word])
            assert str(caught.value) == f"{key} {reason}; leave it out"


@pytest.mark.parametrize(
    ("word", "counts"),
    [
        ("env.ENV_KWARGS.num_agents=5", True),
        ("+env.ENV_KWARGS.num_agents=5", True),
        ("alg.REF_LOG_COEF=0.1", True),
        ("ALIGNMENT=original", True),
        ("LAYOUT=original", True),
        ("alg.SAVE_PATH=elsewhere", False),
        ("alg.DATA_DIR=elsewhere", False),
        ("WANDB_MODE=offline", False),
        ("PROJECT=mine", False),
    ],
)
def test_what_is_computed_is_the_identity_and_where_things_lie_is_not(word, counts):
    parse = programs.PROGRAMS["train/vdn_offline_rm.py"]
    if word.startswith("env"):
        word = "+" + word.lstrip("+")
    assert (parse([word]).identity() != parse([]).identity()) == counts


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["alg.GAMA=1"], "alg.GAMA"),
        (["+alg.GAMA=1"], "unknown key alg.GAMA; did you mean alg.GAMMA?"),
        (["alg.LR"], "'alg.LR' is neither a flag nor an override such as SEED=42"),
        (["alg.LR=[1"], "'alg.LR=[1' is no Hydra override"),
        (["+other.key=1"], "unknown key other"),
        (["WANDB_MODE=on"], "WANDB_MODE=on; it has to be online or offline or disabled"),
        (["PROJECT=3"], "PROJECT=3; it has to be text"),
        (["--seed", "1", "--seeds", "1-2"], "exclude each other"),
        (["--seeds", "3-1"], "can't be read"),
        (["alg.REF_LOG_COEF=-4"], "alg.REF_LOG_COEF=-4; it has to be a number from 0 on"),
        (["alg.MSE_LOSS_COEF=-1"], "alg.MSE_LOSS_COEF=-1; it has to be a number from 0 on"),
        (["alg.TEST_INTERVAL=0"], "alg.TEST_INTERVAL=0"),
        (["alg.NUM_BATCH=[0,0,0,0,0]"], "names no file"),
        (
            ["env.ENV_NAME=MPE_simple_spred_v3"],
            "env.ENV_NAME=MPE_simple_spred_v3; it has to be MPE_simple_spread_v3",
        ),
        (["--config-name", "vdn_confg"], "unknown configuration 'vdn_confg'"),
    ],
)
def test_a_wrong_command_line_is_one_line(words, says):
    with pytest.raises(UserError) as caught:
        programs.PROGRAMS["train/vdn_offline_rm.py"](words)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_combinations_that_cannot_be_are_refused():
    for name, words, says in (
        ("train/iql_offline_rm.py", ["alg.TD_LAMBDA_LOSS=True"], "one-step targets only"),
        (
            "train/vdn_collect.py",
            ["env.ENV_NAME=overcooked"],
            "train/overcooked_collect.py is for Overcooked",
        ),
        ("train/vdn_collect.py", ["alg.TOTAL_TIMESTEPS=100"], "less than one file"),
        ("train/pipeline.py", ["MIX=pure"], "unknown mix 'pure'"),
        ("train/pipeline.py", ["--seed_axis", "vmap"], "UPSTREAM_SEEDS=fixed shares them"),
        ("train/expert_vdn.py", ["--seed_axis", "loop"], "have data of their own"),
        (
            "train/reward_model.py",
            ["LAYOUT=original", "PREFERENCES=a.jsonl"],
            "a person judges whole episodes",
        ),
        ("train/vdn_offline_rm.py", ["alg.OFFLINE_DATA_PATHS={overcooked:[a]}"], "lists of 5 folders"),
        ("train/vdn_offline_rm.py", ["alg.OFFLINE_DATA_PATHS={spread:[a,b,c,d,e]}"], "lists of 5 folders"),
        (
            "train/vdn_offline_rm.py",
            ["alg.OFFLINE_UNILATERAL_DATA_PATHS={overcooked:3}"],
            "lists of 3 folders",
        ),
    ):
        with pytest.raises(UserError, match=says):
            programs.PROGRAMS[name](words)


def test_tables_of_folders_are_given_whole_or_by_an_entry():
    parse, row = programs.PROGRAMS["train/vdn_offline_rm.py"], "[a,b,c,d,e]"
    for word in (
        f"alg.OFFLINE_DATA_PATHS={{MPE_simple_spread_v3:{row}}}",
        f"+alg.OFFLINE_DATA_PATHS.MPE_simple_spread_v3={row}",
    ):
        launch = parse([word])
        spread = SimpleNamespace(name="spread", id="MPE_simple_spread_v3", n_agents=3)
        assert launch.hp.alg.named(spread).joint == tuple("abcde")
        assert launch.hp.alg.named(SimpleNamespace(name="spread", id=spread.id, n_agents=5)).joint == ()
        assert launch.identity() == parse([]).identity()  # what lies there counts, by its fingerprint
    five = SimpleNamespace(name="spread", id="MPE_simple_spread_v3", n_agents=5)
    words = ["+alg.OFFLINE_UNILATERAL_DATA_PATHS.MPE_simple_spread_v3_na5=[f,g,h]"]
    assert parse(words).hp.alg.named(five).single == tuple("fgh")


def test_debug_is_not_compiled():
    assert programs.PROGRAMS["train/reward_model.py"](["DEBUG=True"]).hp.disable_jit
    assert not programs.PROGRAMS["train/reward_model.py"]([]).hp.disable_jit


def test_an_unknown_flag_is_refused_with_the_nearest(capsys):
    with pytest.raises(SystemExit) as caught:
        programs.PROGRAMS["train/pipeline.py"](["--sedes", "1"])
    assert caught.value.code == 2
    assert capsys.readouterr().err == "train/pipeline.py: unknown flag --sedes; did you mean --seeds?\n"


@pytest.mark.parametrize("name", PROGRAMS)
def test_help_and_the_whole_tree_can_be_printed(name, capsys):
    for words, part in ((["--help"], "Hydra overrides"), (["--cfg", "job", "SEED=9"], "SEED: 9")):
        with pytest.raises(SystemExit) as caught:
            programs.PROGRAMS[name](words)
        assert caught.value.code == 0
        assert part in capsys.readouterr().out


def _kinds():
    return [
        kind
        for kind in vars(options).values()
        if dataclasses.is_dataclass(kind) and kind.__module__ == options.__name__
    ]


def _names_read():
    """Every attribute that the package's code reads, and the fields of the library's own settings (`settings.pick`)."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        found |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return found


@pytest.mark.parametrize("kind", _kinds(), ids=lambda kind: kind.__name__)
def test_every_key_is_read_by_something(kind):
    unread = {item.name for item in dataclasses.fields(kind)} - _names_read()
    assert not unread, f"{kind.__name__} has keys that nothing reads: {', '.join(sorted(unread))}"
