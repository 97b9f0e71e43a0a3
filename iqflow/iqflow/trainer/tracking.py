"""wandb, if asked for: a mirror of the local log that can fail without anybody noticing but its reader."""

from __future__ import annotations

import netrc
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from common.cli import UserError
from common.runs import RunFolder

#: seconds that the end of a run waits for uploads; what is late stays on the disk, where `wandb sync` finds it
FINISH_SECONDS = 60.0


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


@contextmanager
def mirrored(run: RunFolder, project: str = "iqflow") -> Iterator[None]:
    """Mirror every row that `run` logs inside the block to wandb, when WANDB_MODE asks for it.

    The run itself never depends on it. The mirror is finished with the block, so that the same run can go on in the
    same process (as failed when the block raises).

    Raises:
        UserError: WANDB_MODE has an unknown value, or wandb is not installed.
    """
    mode = chosen_mode()
    mirror = None if mode == "disabled" else _start(run, mode, project)
    if mirror is None:
        yield
        return
    run.mirror, exit_code = _guarded(mirror.log), 1
    try:
        yield
        exit_code = 0
    finally:
        run.mirror = None
        try:
            mirror.finish(exit_code=exit_code)
        except Exception as error:  # whatever wandb throws, the run is as good as it was
            _warn(error)


def _start(run: RunFolder, mode: str, project: str) -> Any:
    """wandb's own run, or None when it can't start."""
    try:
        import wandb
    except ImportError:
        raise UserError(
            "WANDB_MODE is set but wandb is not installed; install it or unset WANDB_MODE"
        ) from None
    # The name of one run survives a resume, so the mirror goes on in the same place.
    settings = wandb.Settings(silent=True, console="off", init_timeout=30, finish_timeout=FINISH_SECONDS)
    options = {
        "project": project,
        "id": run.path.name,
        "resume": "allow",
        "reinit": "create_new",  # the seeds of one process are runs side by side
        "dir": run.path,
        "config": run.config,
    }
    try:
        return wandb.init(mode=mode, settings=settings, **options)
    except Exception as error:  # whatever wandb throws, training goes on
        _warn(error)
        return None


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
