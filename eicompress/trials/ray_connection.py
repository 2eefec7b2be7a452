"""Connects to a Ray cluster, or starts Ray here, and calls actors that may be lost.

The module `ray` is imported when it is first needed. It has no types.
"""

import os
import socket
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from eicompress.errors import StudyError

ANSWER_SECONDS = 10.0
"""How long a cluster's address may take to answer."""
STORE_BYTES = 200_000_000
"""Size of the object store of a Ray that is started here, beside the files that are sent."""


def connect(address: str, cpus: int, sent_bytes: int) -> tuple[Any, bool]:
    """The module `ray`, connected to the cluster at an address, and whether the caller must end the connection.

    Without an address, a Ray with this number of CPUs is started here. Raises `StudyError`.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Without a GPU of its own a worker sees none: what Ray does today, and warns that it will not always.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
    import ray

    if ray.is_initialized():
        return ray, False
    options: dict[str, Any] = {}
    if not address:
        os.environ.setdefault("RAY_worker_niceness", "0")
        options = {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": STORE_BYTES + sent_bytes}
    try:
        if address not in ("", "auto"):
            # Ray itself would try for minutes.
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS).close()
        ray.init(address or "local", **options, log_to_driver=False, logging_level="ERROR")
    except Exception as error:  # Ray raises whatever its parts raise
        ray.shutdown()
        if not address:
            raise StudyError(f"Ray must start on this machine, but: {first_line(error)}") from error
        raise StudyError(
            f"`--ray-address {address}` must be a Ray cluster that this machine is a node of, but: "
            f"{first_line(error)}. Start Ray here: ray start --address=HOST:PORT, or --head for the first node"
        ) from error
    return ray, True


def answers(ray: Any, actors: Iterable[Any], what: str, seconds: float | None = None) -> list[Any]:
    """The answer of each actor's method `what`; None where the actor is lost or does not answer in time."""
    asked = [getattr(actor, what).remote() for actor in actors]
    ready = ray.wait(asked, num_returns=len(asked), timeout=seconds)[0] if asked else []
    found: list[Any] = []
    for each in asked:
        found.append(None)
        if each in ready:
            with suppress(ray.exceptions.RayError):
                found[-1] = ray.get(each)
    return found


def first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
