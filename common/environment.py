"""Make one paper's virtual environment from its lock. Runs on any Python 3 with venv and pip; needs nothing else.

    python3 common/environment.py pola          makes the environment
    python3 common/environment.py lock pola     resolves pyproject.toml anew into the locks

The environment lands in ``.venv/<paper>`` and is remade only when the lock, ``pyproject.toml`` or Python changed.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NEEDED_GIB = 4


def fail(message):
    sys.stderr.write("environment: " + message + "\n")
    sys.exit(2)


def find_python():
    """The interpreter to build with: ``PYTHON`` if given, else python3.11, else python3; 3.11 or newer."""
    wanted = [os.environ["PYTHON"]] if os.environ.get("PYTHON") else ["python3.11", "python3"]
    seen = []
    for name in wanted:
        path = shutil.which(name)
        if not path:
            seen.append(name + " not found")
            continue
        code = "import sys; print('%d.%d' % sys.version_info[:2]); sys.exit(sys.version_info < (3, 11))"
        answer = subprocess.run([path, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        version = answer.stdout.decode().strip()
        if answer.returncode == 0:
            return path, version
        seen.append("%s is %s" % (name, version or "broken"))
    fail(
        "Python 3.11 or newer is needed, but %s; install python3.11 with venv, or name one: make PYTHON=/path/to/python3.11"
        % ", ".join(seen)
    )


def run(step, command, env=None):
    """Run one step, its output shown; a failure becomes one line that names the likely cause."""
    print("environment: " + step, flush=True)
    result = subprocess.run(command, env=env, stderr=subprocess.PIPE)
    if result.returncode == 0:
        return
    text = result.stderr.decode(errors="replace")
    low = text.lower()
    if "no space left" in low or "disk quota" in low:
        fail("the disk is full; free %d GiB and run the same command again" % NEEDED_GIB)
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["no message"]
    offline = "dns error|failed to fetch|connection|timed out|name resolution|network|could not connect"
    if re.search(offline + "|no matching distribution", low):
        fail(
            "no package registry can be reached; connect to the network (or set PIP_FIND_LINKS to a folder of wheels) and run the same command again; "
            + lines[-1]
        )
    fail("%s failed: %s" % (step, lines[-1]))


def find_uv(python):
    """The path of uv: the one on the PATH, or one installed with pip into ``.venv/uv``."""
    found = shutil.which("uv")
    if found:
        return found
    folder = os.path.join(ROOT, ".venv", "uv")
    uv = os.path.join(folder, "bin", "uv")
    with open(folder + ".lock", "w") as lock:
        # `make -j2 ...` makes two environments at a time: one of them installs uv, the other waits for it
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(uv):
            install_uv(python, folder)
    return uv


def install_uv(python, folder):
    """uv in a virtual environment of its own."""
    run("uv is not on the PATH; installing it into .venv/uv", [python, "-m", "venv", "--clear", folder])
    pip = [os.path.join(folder, "bin", "python"), "-m", "pip"]
    run("pip install uv", [*pip, "install", "--quiet", "uv==0.13.8"])


def client_settings(python):
    """The environment for uv, with what pip is told handed on: its folders of local wheels and its certificates."""
    env = dict(os.environ)
    listing = subprocess.run(
        [python, "-m", "pip", "config", "list"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    told = dict(re.findall(r"^(?::env:|global)\.([a-z-]+)='(.*)'$", listing.stdout.decode(), re.MULTILINE))
    for key, target in (("find-links", "UV_FIND_LINKS"), ("cert", "SSL_CERT_FILE")):
        if told.get(key):
            env.setdefault(target, ",".join(told[key].split()))
    return env


def digest(paper, version, lock):
    """What the environment depends on, as a hash."""
    content = hashlib.sha256((version + os.environ.get("TORCH_BACKEND", "")).encode())
    for name in (lock, os.path.join(ROOT, paper, "pyproject.toml"), os.path.join(ROOT, "pyproject.toml")):
        with open(name, "rb") as file:
            content.update(file.read())
    return content.hexdigest()


def main(paper):
    device = os.environ.get("DEVICE", "cpu")
    lock = os.path.join(
        ROOT, paper, "requirements.lock" if device == "cpu" else "requirements-%s.lock" % device
    )
    if not os.path.exists(lock):
        fail("%s has no %s, so there is no environment to make for it" % (paper, os.path.basename(lock)))
    python, version = find_python()
    name = paper if device == "cpu" else paper + "-" + device
    target = os.path.join(ROOT, ".venv", name)
    stamp = os.path.join(target, "made-from")
    state = digest(paper, version, lock)
    if os.path.exists(stamp):
        with open(stamp) as file:
            if file.read() == state:
                return
    if shutil.disk_usage(ROOT).free < NEEDED_GIB * 2**30:
        fail(
            "less than %d GiB of disk is free here, which %s's environment needs; free some and run it again"
            % (NEEDED_GIB, paper)
        )
    os.makedirs(os.path.join(ROOT, ".venv"), exist_ok=True)
    uv = find_uv(python)
    env = client_settings(python)
    run(
        "making .venv/%s with Python %s" % (name, version),
        [uv, "venv", "--quiet", "--clear", "--python", python, target],
        env,
    )
    install = [uv, "pip", "install", "--quiet", "--python", os.path.join(target, "bin", "python")]
    backend = os.environ.get("TORCH_BACKEND")
    if not backend and device == "cpu" and "UV_FIND_LINKS" not in env and sys.platform == "linux":
        print("environment: TORCH_BACKEND=cpu would skip PyTorch's CUDA wheels (several GB)", flush=True)
    extra = ["--torch-backend", backend] if backend else []
    run("installing %s" % os.path.relpath(lock, ROOT), install + extra + ["-r", lock], env)
    packages = ["--no-deps", "--no-build-isolation", "-e", ROOT, "-e", os.path.join(ROOT, paper)]
    run("installing common and %s from this checkout" % paper, install + packages, env)
    with open(stamp, "w") as file:
        file.write(state)
    print("environment: .venv/%s is ready" % name, flush=True)


def lock(paper):
    """Resolve ``pyproject.toml`` into requirements.lock and requirements-cuda.lock: exact versions and nothing else."""
    python, _ = find_python()
    os.makedirs(os.path.join(ROOT, ".venv"), exist_ok=True)
    uv, env = find_uv(python), client_settings(python)
    plain = ["dev", "wandb"]
    for name, extras in (("requirements.lock", plain), ("requirements-cuda.lock", [*plain, "cuda"])):
        path = os.path.join(ROOT, paper, name)
        flags = "--quiet --python-version 3.11 --no-header --no-annotate --upgrade --no-emit-index-url"
        command = [uv, "pip", "compile", *flags.split(), "--no-emit-find-links"]
        if name == "requirements-cuda.lock":
            env = {key: value for key, value in env.items() if key != "UV_FIND_LINKS"}
        elif "UV_FIND_LINKS" not in env:
            command += ["--torch-backend", "cpu"]
        command += [word for extra in extras for word in ("--extra", extra)]
        run("resolving %s" % name, command + [os.path.join(ROOT, paper, "pyproject.toml"), "-o", path], env)
        with open(path) as file:
            text = file.read()
        with open(path, "w") as file:
            file.write(text.replace("+cpu", ""))


if __name__ == "__main__":
    if sys.argv[1:2] == ["lock"] and len(sys.argv) == 3:
        lock(sys.argv[2])
    elif len(sys.argv) == 2:
        main(sys.argv[1])
    else:
        fail("name one paper, for example: python3 common/environment.py pola")
