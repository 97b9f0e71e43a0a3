"""Command lines become frozen trees, and what nobody reads is refused with one line."""

import pytest

from common.cli import UserError

ROOTS = {"ipd": "ipd.py", "coin": "coin_train.py"}


def parse(root, *words):
    from loqa.programs import PROGRAMS

    return PROGRAMS[ROOTS[root]](list(words))


@pytest.mark.parametrize("root", ROOTS)
def test_seeds_come_from_the_key_or_the_flags(root):
    assert parse(root, "hp.seed=7").seeds == (7,)
    assert parse(root, "--seed", "8", "hp.seed=7").seeds == (8,)
    several = parse(root, "--seeds", "42-44")
    assert several.seeds == (42, 43, 44) and several.hp.seed == 42
    assert several.identity(43) == parse(root, "hp.seed=43").identity()


@pytest.mark.parametrize("root", ROOTS)
def test_where_things_are_put_does_not_change_what_a_run_is(root):
    plain = parse(root).identity()
    moved = parse(root, "hp.save_dir=elsewhere", "wandb.state=enabled", "wandb.tags=[a,b]", "--device", "cpu")
    assert moved.identity() == plain and moved.wandb.tags == ("a", "b")
    assert parse(root, "hp.max_iterations=5").identity() != plain
    assert parse(root, "jax.jax_threefry_partitionable=True").identity() != plain


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["hp.sed=1"], "hp.sed"),
        (["+hp.sed=1"], "unknown key hp.sed; did you mean hp.seed?"),
        (["hp=nonsense"], "nonsense"),
        (["hp.seed"], "'hp.seed' is neither a flag nor an override such as hp.seed=42"),
        (["hp.seed=[1"], "'hp.seed=[1' is no Hydra override"),
        (["+other.key=1"], "unknown key other"),
        (["wandb.sate=enabled"], "wandb.sate"),
        (["wandb.state=on"], "wandb.state=on; it has to be disabled or enabled"),
        (["--seed", "1", "--seeds", "1-2"], "exclude each other"),
        (["--seeds", "3-1"], "can't be read"),
        (["hp.batch_size=-4"], "hp.batch_size=-4"),
        (["hp.eval_every=0"], "hp.eval_every=0"),
        (["hp.max_iterations=-1"], "hp.max_iterations=-1"),
    ],
)
def test_a_wrong_command_line_is_one_line(root, words, says):
    with pytest.raises(UserError) as caught:
        parse(root, *words)
    assert says in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("root", ROOTS)
def test_an_unknown_flag_is_refused_with_the_nearest(root, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(root, "--sedes", "1")
    assert caught.value.code == 2
    assert capsys.readouterr().err == f"{ROOTS[root]}: unknown flag --sedes; did you mean --seeds?\n"


@pytest.mark.parametrize("root", ROOTS)
def test_help_and_the_whole_tree_can_be_printed(root, capsys):
    for words, part in ((["--help"], "Hydra overrides"), (["--cfg", "job", "hp.seed=9"], "seed: 9")):
        with pytest.raises(SystemExit) as caught:
            parse(root, *words)
        assert caught.value.code == 0
        assert part in capsys.readouterr().out
