import errno

import pytest

from common.cli import (
    StrictParser,
    UserError,
    add_film_flags,
    add_run_flags,
    check_film_flags,
    nearest,
    parse_seeds,
    run_main,
)


@pytest.mark.parametrize(
    ("text", "seeds"), [("1-4", (1, 2, 3, 4)), ("7", (7,)), ("1,3,7-9", (1, 3, 7, 8, 9)), (" 2 , 4", (2, 4))]
)
def test_seed_lists(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "4-1", "1,,2", "1-", "-3", "1,1", "1-3,2", "1.5"])
def test_a_seed_list_that_does_not_parse_is_refused(text):
    with pytest.raises(UserError, match="seed"):
        parse_seeds(text)


def _parser():
    parser = StrictParser(prog="prog")
    parser.add_argument("--outer_steps", type=int, default=1)
    return parser


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--outer_step", "3"], "did you mean --outer_steps?"),
        (["--zzz"], "unknown flag --zzz; --help lists every flag"),
        (["--outer_steps", "three"], "invalid int value: 'three'"),
    ],
)
def test_bad_flags_are_one_line_and_exit_code_2(argv, says, capsys):
    with pytest.raises(SystemExit) as stop:
        _parser().parse_args(argv)
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert says in error and error.count("\n") == 1


def test_help_says_a_default_where_there_is_one(capsys):
    parser = _parser()
    parser.add_argument("--fast", action="store_true", help="no default to tell")
    add_run_flags(parser, "pola")
    with pytest.raises(SystemExit):
        parser.parse_args(["--help"])
    words = " ".join(capsys.readouterr().out.split())
    assert "folder of the runs; empty: results/pola/runs --device" in words
    assert "no default to tell --run_root" in words
    assert "where to compute (default: auto)" in words


def test_the_nearest_name_or_all_of_them():
    assert nearest("rokie", ["expert", "rookie"]) == "did you mean 'rookie'?"
    assert nearest("sed", iter(["seed"]), "hp.{}") == "did you mean hp.seed?"
    assert nearest(3, ["a", "b"]) == "there are a, b"


def _film(*words):
    parser = StrictParser(prog="film.py")
    add_film_flags(parser, "1 to 9; left out: 5", fps=None, fps_help="left out: 2")
    options = parser.parse_args(["--output", "a.gif", *words])
    check_film_flags(options, 9)
    return options


def test_flags_of_a_film():
    options = _film()
    assert (options.steps, options.fps, options.seed, options.output.name) == (None, None, 0, "a.gif")
    options = _film("--steps", "9", "--fps", "50", "--seed", "4294967295")
    assert (options.steps, options.fps, options.seed) == (9, 50.0, 2**32 - 1)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--steps", "0"], "--steps 0; it has to be 1 to 9"),
        (["--steps", "10"], "--steps 10; it has to be 1 to 9"),
        (["--fps", "nan"], "--fps nan; it has to be 0.2 to 50"),
        (["--fps", "inf"], "--fps inf; it has to be 0.2 to 50"),
        (["--fps", "0.1"], "--fps 0.1; it has to be 0.2 to 50"),
        (["--seed", "-1"], "--seed -1; it has to be 0 to 4294967295"),
        (["--seed", "4294967296"], "--seed 4294967296; it has to be 0 to 4294967295"),
        (["--output", "a.mp4"], "--output a.mp4; a film is a GIF, so the name has to end in .gif"),
    ],
)
def test_a_film_that_cannot_be_is_refused(words, says):
    with pytest.raises(UserError) as caught:
        _film(*words)
    assert str(caught.value) == says


@pytest.mark.parametrize(
    ("problem", "says", "code"),
    [
        (UserError("cf is 3;\n write 1.33"), "prog: cf is 3; write 1.33\n", 2),
        (OSError(errno.ENOSPC, "No space", "x/run.json"), "prog: x/run.json: no space left on the disk", 2),
        (OSError(errno.EROFS, "Read-only", "x"), "the folder is read-only", 2),
        (PermissionError(errno.EACCES, "denied", "x"), "permission denied", 2),
        (KeyboardInterrupt(), "run the same command again", 130),
    ],
)
def test_what_a_person_can_mend_is_one_line(problem, says, code, capsys):
    def body(argv):
        raise problem

    assert run_main(body, [], program="prog") == code
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


def test_a_defect_of_ours_keeps_its_traceback():
    def body(argv):
        raise KeyError("x")

    with pytest.raises(KeyError):
        run_main(body, [], program="prog")
