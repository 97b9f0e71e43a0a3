import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from common.runs import RunFolder, RunSpec, source_digest, source_files

SPEC = RunSpec("toy.py", {"lr": 0.1, "seed": 1}, "abc")


def _open(root, spec=SPEC):
    return RunFolder.open(root, spec, ["toy.py", "--lr", "0.1"], "cpu")


def test_the_address_is_of_the_content():
    assert SPEC.address == RunSpec("toy.py", {"seed": 1, "lr": 0.1}, "abc").address
    others = [
        RunSpec("toy.py", {"lr": 0.2, "seed": 1}, "abc"),
        RunSpec("other.py", SPEC.config, "abc"),
        RunSpec("toy.py", SPEC.config, "abd"),
    ]
    assert len({SPEC.address, *(spec.address for spec in others)}) == 4


def test_a_finished_run_is_kept_and_not_repeated(tmp_path):
    run = _open(tmp_path)
    assert run.restore() is None
    run.log({"step": 0, "loss": float("nan")})
    run.log({"step": 1, "loss": np.float32(0.5), "p": np.arange(2)})
    run.finish({"score": np.float64(0.25)})
    again = _open(tmp_path)
    assert again.finished and again.status == "finished" and again.summary == {"score": 0.25}
    assert again.metrics() == [{"step": 0, "loss": None}, {"step": 1, "loss": 0.5, "p": [0, 1]}]
    assert again.record["provenance"]["packages"]["numpy"] == np.__version__
    assert again.record["command"] == "toy.py --lr 0.1"


def test_resume_cuts_the_log_back_to_the_checkpoint(tmp_path):
    run = _open(tmp_path)
    run.restore()
    for step in range(5):
        run.log({"step": step})
        if step == 2:
            run.checkpoint(step, {"x": np.arange(3)}, {"note": "here"})
    run._file.flush()
    run._lock.close()
    assert run.status == "interrupted"
    again = _open(tmp_path)
    state = again.restore()
    assert state.step == 2 and state.meta == {"note": "here"}
    np.testing.assert_array_equal(state.arrays["x"], np.arange(3))
    assert [row["step"] for row in again.metrics()] == [0, 1, 2]
    again.log({"step": 3})
    again.finish({})
    assert [row["step"] for row in again.metrics()] == [0, 1, 2, 3]
    assert again.record["sessions"] == 2


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path):
    run = _open(tmp_path)
    for step in range(4):
        run.log({"step": step})
        run.checkpoint(step, {"x": np.array(step)})
    run._lock.close()
    files = sorted((run.path / "checkpoints").iterdir())
    assert [int(file.stem) for file in files] == [2, 3]
    files[-1].write_bytes(files[-1].read_bytes()[:100])
    again = _open(tmp_path)
    assert again.restore().step == 2
    assert [row["step"] for row in again.metrics()] == [0, 1, 2]


def test_a_log_line_that_a_kill_cut_short_is_left_out(tmp_path):
    run = _open(tmp_path)
    run.log({"step": 0})
    run._file.write(b'{"step": 1')
    run._file.flush()
    assert run.metrics() == [{"step": 0}]


def test_two_writers_of_one_run_are_refused(tmp_path):
    run = _open(tmp_path)
    code = (
        "import sys\nfrom common.runs import RunFolder, RunSpec\nfrom common.cli import run_main\n"
        "def body(argv):\n    RunFolder.open(sys.argv[1], RunSpec('toy.py', {'lr': 0.1, 'seed': 1}, 'abc'), ['x'], 'cpu')\n"
        "sys.exit(run_main(body, program='toy'))"
    )
    answer = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert answer.returncode == 2 and "another process is writing" in answer.stderr
    run.finish({})


def test_an_unreadable_record_reads_as_not_started(tmp_path):
    run = _open(tmp_path)
    run._lock.close()
    (run.path / "run.json").write_text("{")
    assert RunFolder.read(run.path).status == "missing"
    assert _open(tmp_path).record["status"] == "running"


def test_a_file_in_place_of_the_results_folder_is_an_error_of_the_system(tmp_path):
    (tmp_path / "results").write_text("")
    with pytest.raises(OSError):
        _open(tmp_path / "results")


def test_source_files_follow_relative_imports(tmp_path):
    package = tmp_path / "package"
    (package / "inner").mkdir(parents=True)
    (tmp_path / "run.py").write_text("from package.main import f\n")
    (package / "__init__.py").write_text("")
    (package / "main.py").write_text("from . import beside\nfrom .inner.deep import g\n")
    (package / "beside.py").write_text("")
    (package / "unused.py").write_text("")
    (package / "inner" / "__init__.py").write_text("")
    (package / "inner" / "deep.py").write_text("from ..above import h\n")
    (package / "above.py").write_text("")
    found = {file.name for file in source_files(tmp_path / "run.py", [tmp_path])}
    assert {"run.py", "main.py", "beside.py", "deep.py", "above.py"} <= found and "unused.py" not in found


def test_the_source_digest_follows_the_code_and_nothing_else(tmp_path):
    package = tmp_path / "paper"
    package.mkdir()
    (package / "__init__.py").write_text('"""Doc."""\n')
    (package / "maths.py").write_text("def f(x):\n    return x + 1\n")
    (package / "unused.py").write_text("a = 1\n")
    entry = tmp_path / "script.py"
    entry.write_text("import numpy\nfrom paper.maths import f\nprint(f(1))\n")
    before = source_digest(entry, [tmp_path])
    assert sorted(file.name for file in source_files(entry, [tmp_path])) == [
        "__init__.py",
        "maths.py",
        "script.py",
    ]
    (package / "unused.py").write_text("a = 2\n")
    (package / "maths.py").write_text('def f(x):\n    """Adds."""\n\n    # one\n    return (x + 1)\n')
    assert source_digest(entry, [tmp_path]) == before
    (package / "maths.py").write_text("def f(x):\n    return x + 2\n")
    assert source_digest(entry, [tmp_path]) != before


def test_plots_and_logs_do_not_make_a_run_stale_but_games_do(tmp_path):
    root = Path(__file__).resolve().parents[2]
    entry = tmp_path / "script.py"
    entry.write_text("from common import matrix_games, runs\nfrom common.plotting import save\n")
    names = sorted(file.name for file in source_files(entry, [root]))
    assert names == ["__init__.py", "matrix_games.py", "script.py"]


def test_the_record_is_plain_json(tmp_path):
    run = _open(tmp_path)
    run.finish({})
    record = json.loads((run.path / "run.json").read_text())
    assert record["status"] == "finished" and record["config"] == {"lr": 0.1, "seed": 1}
