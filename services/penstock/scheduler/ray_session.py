"""Ray for as long as the scheduler process lives: started here, or a cluster joined; nothing of it stays behind.

Ray's processes are children of this one and die with it, even by SIGKILL (PR_SET_PDEATHSIG). Its files live in one
directory that names this process; what a killed process left is removed by the next.
"""

import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import ray
from ray._common.usage import usage_lib

log = logging.getLogger(__name__)

NAMESPACE = "penstock"

_DIRECTORY_PREFIX = "penstock-ray-"
_OBJECT_STORE_BYTES = 80 * 2**20  # close to Ray's minimum; actor calls here carry kilobytes
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@contextmanager
def ray_session(address: str, num_cpus: int) -> Iterator[None]:
    """Start Ray on this machine ("local") or join the cluster at `address`; leave it, or end it, afterwards.

    Blocks for some seconds and must run in the main thread: Ray's processes die with the *thread* that started them.
    """
    usage_lib.set_usage_stats_enabled_via_env_var(False)
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    directory = Path(tempfile.gettempdir()) / f"{_DIRECTORY_PREFIX}{os.getpid()}"
    try:
        if address == "local":
            remove_leftovers()
            _start(directory, num_cpus)
        else:
            ray.init(address=address, namespace=NAMESPACE, logging_level=logging.ERROR, log_to_driver=True)
        # Ray installs its own SIGTERM handler, which would exit in the middle of whatever runs.
        for number, handler in handlers.items():
            signal.signal(number, handler)
        yield
    finally:
        ray.shutdown()
        _remove(directory)


def _start(directory: Path, num_cpus: int) -> None:
    directory.mkdir(mode=0o700)
    ray.init(
        address="local",
        num_cpus=num_cpus,
        namespace=NAMESPACE,
        object_store_memory=_OBJECT_STORE_BYTES,
        include_dashboard=False,
        logging_level=logging.ERROR,  # of Ray's own Python code: its warnings are advice for interactive use
        log_to_driver=True,
        _node_ip_address="127.0.0.1",
        _temp_dir=str(directory),
        # Files, not /dev/shm: containers get 64 MiB of that, and a killed process would leave them there.
        _plasma_directory=str(directory),
    )


def remove_leftovers() -> None:
    """End what the sessions of killed scheduler processes left: files, and agents that take a minute to notice."""
    for directory in Path(tempfile.gettempdir()).glob(f"{_DIRECTORY_PREFIX}*"):
        pid = directory.name.removeprefix(_DIRECTORY_PREFIX)
        if pid.isdigit() and (int(pid) == os.getpid() or not psutil.pid_exists(int(pid))):
            log.info("removing %s of a scheduler that was killed", directory)
            _remove(directory)


def _remove(directory: Path) -> None:
    """Remove a session's directory, and first the other processes that still write their logs there."""
    if not directory.exists():
        return
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.pid != os.getpid() and any(
                file.path.startswith(f"{directory}/") for file in process.open_files()
            ):
                process.kill()
    shutil.rmtree(directory, ignore_errors=True)
