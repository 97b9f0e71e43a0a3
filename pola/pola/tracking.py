"""wandb, if asked for: a mirror of the local log that can fail without anybody noticing but its reader."""

from __future__ import annotations

import netrc
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from common.cli import UserError
from common.runs import RunFolder


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return any("wandb" in host for host in netrc.netrc().hosts)
    except (OSError, netrc.NetrcParseError):
        return False


def chosen_mode() -> str:
    """``online``, ``offline`` or ``disabled`` from WANDB_MODE, settled before a run starts.

    Online without a key falls to offline, said in one line on stderr.

    Raises:
        UserError: WANDB_MODE has another value.
    """
    mode = os.environ.get("WANDB_MODE") or "disabled"
    if mode not in ("online", "offline", "disabled"):
        raise UserError(f"WANDB_MODE is {mode!r}; it can be online, offline or disabled")
    if mode == "online" and not _has_key():
        print(
            "wandb: no key found, so this run is logged offline (wandb sync uploads it later)",
            file=sys.stderr,
        )
        return "offline"
    return mode


def attach(run: RunFolder, project: str = "pola") -> None:
    """Mirror every row that `run` logs to wandb, when WANDB_MODE asks for it; the run itself never depends on it."""
    mode = chosen_mode()
    if mode == "disabled":
        return
    try:
        import wandb
    except ImportError:
        raise UserError(
            "WANDB_MODE is set but wandb is not installed; install it or unset WANDB_MODE"
        ) from None
    # The name of one run survives a resume, so the mirror goes on in the same place.
    settings = wandb.Settings(silent=True, console="off", init_timeout=30)
    options = {
        "project": project,
        "id": run.path.name,
        "resume": "allow",
        "dir": run.path,
        "config": run.config,
    }
    try:
        mirror = wandb.init(mode=mode, settings=settings, **options)
    except Exception as error:  # whatever wandb throws, training goes on
        _warn(error)
        return
    run.mirror = _guarded(mirror.log)


def _guarded(send: Callable[[Mapping[str, Any]], None]) -> Callable[[Mapping[str, Any]], None]:
    healthy = True

    def mirror(row: Mapping[str, Any]) -> None:
        nonlocal healthy
        if healthy:
            try:
                send(dict(row))
            except Exception as error:  # whatever wandb throws, training goes on
                healthy = False
                _warn(error)

    return mirror


def _warn(error: Exception) -> None:
    print(f"wandb: {type(error).__name__}, no longer mirrored; metrics.jsonl has everything", file=sys.stderr)
