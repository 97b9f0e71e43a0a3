"""Ray, started quietly: in this machine's cores, or at the address of a cluster that is there."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from common.cli import UserError

from ..launch import Ray

#: no telemetry, no dashboard's lookups, no files of Tune's own loggers; whoever sets one of these keeps it
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_raylet_start_wait_time_s": "60",  # a busy machine needs longer than Ray allows by itself
    "RAY_agent_register_timeout_ms": "120000",
}
#: seconds that an address has to answer
ANSWER_SECONDS = 10.0
#: how often Ray is started before its own deadlines, which a busy machine misses now and then, count as final
ATTEMPTS = 2
_PROBE = """
import sys
from ray._raylet import GcsClient
from ray.exceptions import AuthenticationError
try:
    GcsClient(address=sys.argv[1]).internal_kv_keys(b"", None)
except AuthenticationError:
    pass  # it is Ray, and wants a token; ray.init says so in its own words
"""


def quiet() -> None:
    """Set the environment that keeps Ray offline and silent; before ray is imported."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"(ray|gymnasium)\b")
    warnings.filterwarnings("ignore", message=".*Overriding environment rllib-multi-agent-env")
    for name in ("ray", "ray.rllib", "ray.tune", "ray._private"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _check_address(address: str, seconds: float) -> None:
    """Refuse an address at which no Ray cluster answers in time.

    Raises:
        UserError: it does not.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in address:
        raise UserError(
            f"--ray_address {address!r} must have the form HOST:PORT (the cluster's head), or be auto"
        )
    silent = UserError(
        f"no Ray cluster answers at {address} within {seconds:.0f} s; look at `ray status` on its head, or leave "
        "--ray_address out to use this machine alone"
    )
    try:
        socket.create_connection((host, int(port)), timeout=seconds).close()
    except OSError:
        raise silent from None
    # something listens there; whether it is Ray is asked in a process of its own, since Ray's client can abort
    probe = [sys.executable, "-c", _PROBE, address]
    try:
        found = subprocess.run(probe, timeout=3 * seconds, capture_output=True, check=False)
    except subprocess.TimeoutExpired:
        raise silent from None
    if found.returncode:
        raise silent


@contextmanager
def started(settings: Ray, seconds: float = ANSWER_SECONDS) -> Iterator[None]:
    """Ray for the block; a Ray that this process has already is used and left as it is.

    Raises:
        UserError: it can't be started, or the address does not answer.
    """
    quiet()
    import ray

    if ray.is_initialized():
        yield
        return
    options = {"logging_level": "ERROR", "log_to_driver": False}
    if settings.address:
        if settings.address != "auto":
            _check_address(settings.address, seconds)
        options["address"] = settings.address
    else:
        options |= {"num_cpus": settings.num_cpus or None, "include_dashboard": False}
    where = f"reached at {settings.address}" if settings.address else "started on this machine"
    for attempts_left in reversed(range(ATTEMPTS)):
        try:
            ray.init(**options)
            break
        except Exception as error:  # Ray throws many kinds; whichever it is, nothing has begun yet
            ray.shutdown()
            late = not settings.address and "timed out" in str(error)
            if not (late and attempts_left):
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                raise UserError(f"Ray can't be {where}: {reason} (--engine batched needs no Ray)") from None
    try:
        yield
    finally:
        ray.shutdown()
