"""wandb, if asked for: a mirror of the local log that can fail without anybody noticing but its reader."""

from __future__ import annotations

import netrc
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from common.cli import UserError
from common.runs import RunFolder
from loqa.settings import Wandb


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return any("wandb" in host for host in netrc.netrc().hosts)
    except (OSError, netrc.NetrcParseError):
        return False


def chosen_mode(state: str) -> str:
    """``online``, ``offline`` or ``disabled``, settled before a run starts.

    ``wandb.state=enabled`` asks for online, the variable WANDB_MODE names a mode itself. Online without a key falls to
    offline, said in one line on stderr.

    Raises:
        UserError: WANDB_MODE has another value.
    """
    mode = os.environ.get("WANDB_MODE") or ("online" if state == "enabled" else "disabled")
    if mode not in ("online", "offline", "disabled"):
        raise UserError(f"WANDB_MODE is {mode!r}; it can be online, offline or disabled")
    if mode == "online" and not _has_key():
        print(
            "wandb: no key found, so this run is logged offline (wandb sync uploads it later)",
            file=sys.stderr,
        )
        return "offline"
    return mode


def attach(run: RunFolder, mode: str, wanted: Wandb, project: str) -> None:
    """Mirror every row that `run` logs to wandb, in a mode of `chosen_mode`; the run itself never depends on it.

    Args: `wanted` the configuration's block (tags, folder, names), `project` is used where it names none.
    """
    if mode == "disabled":
        return
    try:
        import wandb
    except ImportError:
        raise UserError(
            "wandb is asked for but not installed; install it or set wandb.state=disabled"
        ) from None
    settings = wandb.Settings(silent=True, console="off", init_timeout=30)
    # The name of one run survives a resume, so the mirror goes on in the same place.
    options = {
        "project": wanted.project or project,
        "group": wanted.group or None,
        "name": wanted.name or None,
        "tags": list(wanted.tags),
        "id": run.path.name,
        "resume": "allow",
        "reinit": "create_new",  # the seeds of one process are runs side by side
        "dir": wanted.wandb_dir or run.path,
        "config": run.config["hp"],
    }
    try:
        mirror = wandb.init(mode=mode, settings=settings, **options)
    except Exception as error:  # whatever wandb throws, training goes on
        _warn(error)
        return
    run.mirror = _guarded(mirror.log)


def _guarded(send: Callable[..., None]) -> Callable[[Mapping[str, Any]], None]:
    healthy = True

    def mirror(row: Mapping[str, Any]) -> None:
        nonlocal healthy
        if healthy:
            try:
                send(dict(row), step=row["iteration"])
            except Exception as error:  # whatever wandb throws, training goes on
                healthy = False
                _warn(error)

    return mirror


def _warn(error: Exception) -> None:
    print(f"wandb: {type(error).__name__}, no longer mirrored; metrics.jsonl has everything", file=sys.stderr)
