"""What stands in the way of an environment is said in one line; a made one is not made again."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAKES = 'for last; do :; done; [ "$1" = venv ] && mkdir -p "$last"; exit 0'


@pytest.fixture
def place(tmp_path):
    """A root with one paper that needs nothing, and a folder of programs that stand first on the PATH."""
    for folder in ("common", "toy", "bin"):
        (tmp_path / folder).mkdir()
    shutil.copy(ROOT / "common" / "environment.py", tmp_path / "common")
    for name in ("pyproject.toml", "toy/pyproject.toml", "toy/requirements.lock"):
        (tmp_path / name).write_text("")
    program(tmp_path, "uv", MAKES)
    return tmp_path


def program(place, name, body):
    path = place / "bin" / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def make(place, *words, **variables):
    kept = {"PATH": f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}", "HOME": str(place)}
    return subprocess.run(
        [sys.executable, str(place / "common" / "environment.py"), *(words or ("toy",))],
        env=kept | {"PYTHON": sys.executable} | variables,
        capture_output=True,
        text=True,
        timeout=60,
    )


def one_line(done):
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("environment: ")
    return done.stderr


def test_it_is_made_once_and_again_when_the_lock_changes(place):
    assert "is ready" in make(place).stdout
    assert make(place).stdout == ""
    (place / "toy" / "requirements.lock").write_text("numpy==2.4.6\n")
    assert "is ready" in make(place).stdout


def test_an_old_python_is_named(place):
    program(place, "python3.10", "echo 3.10; exit 1")
    line = one_line(make(place, PYTHON=str(place / "bin" / "python3.10")))
    assert "Python 3.11 or newer is needed" in line and "is 3.10" in line


def test_no_network_is_said(place):
    program(place, "uv", f"[ $1 = pip ] && {{ echo 'error: Failed to fetch: x' >&2; exit 2; }}; {MAKES}")
    assert "no package registry can be reached" in one_line(make(place))
    assert not (place / ".venv" / "toy" / "made-from").exists()


def test_a_full_disk_is_said(place):
    program(place, "uv", f"[ $1 = pip ] && {{ echo 'No space left on device' >&2; exit 2; }}; {MAKES}")
    assert "the disk is full" in one_line(make(place))


def test_too_little_disk_is_said_before_anything_is_made(place):
    source = place / "common" / "environment.py"
    source.write_text(source.read_text().replace("NEEDED_GIB = 4", "NEEDED_GIB = 4000000000"))
    assert "of disk is free here" in one_line(make(place))
    assert not (place / ".venv").exists()


def test_uv_is_bootstrapped_where_there_is_none(place):
    (place / "bin" / "uv").unlink()
    program(
        place,
        "python3.11",
        f'case "$1" in -c) echo 3.11;; -m) [ "$2" = venv ] && mkdir -p "$4/bin" && '
        f"printf '#!/bin/sh\\ncp {place}/uv.txt {place}/.venv/uv/bin/uv\\n' > \"$4/bin/python\" && "
        f'chmod +x "$4/bin/python";; esac; exit 0',
    )
    (place / "uv.txt").write_text(f"#!/bin/sh\n{MAKES}\n")
    (place / "uv.txt").chmod(0o755)
    done = make(place, PYTHON=str(place / "bin" / "python3.11"), PATH=f"{place / 'bin'}:/usr/bin:/bin")
    assert done.returncode == 0, done.stderr
    assert "uv is not on the PATH; installing it into .venv/uv" in done.stdout and "is ready" in done.stdout


def test_an_unknown_paper_is_named(place):
    assert "nothing has no requirements.lock" in one_line(make(place, "nothing"))
