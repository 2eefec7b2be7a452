"""`my_device`: another machine, where a command runs the artifact and prints milliseconds."""

import json
import os
import shlex
import subprocess
import sys
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from eicompress import Artifact, Device, MeasureError, Times, hookimpl

EICOMPRESS_INTERFACE = 1
RUNNER = Path(__file__).with_name("my_device_runner.py")


class MyDevice(Device):
    """What `$MY_DEVICE` says how to reach, as `ssh pi python3 my_device_runner.py`; else a process on this machine."""

    name: ClassVar[str] = "my_device"

    def describe(self) -> Mapping[str, str]:
        return {"machine": os.environ.get("MY_DEVICE", "a process on this machine")}

    def time(
        self, artifact: Artifact, reference: Artifact | None, length: int, *, threads: int, seconds: float
    ) -> Times:
        command = shlex.split(os.environ.get("MY_DEVICE", shlex.join([sys.executable, str(RUNNER)])))
        models = [b64encode(each.onnx.read_bytes()).decode() for each in (artifact, reference) if each is not None]
        given = json.dumps({"models": models, "length": length, "threads": threads, "seconds": seconds})
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=seconds + 60)
        if done.returncode != 0:
            raise MeasureError(f"`{shlex.join(command)}` must print milliseconds, but failed: {done.stderr.strip()}")
        return Times(*json.loads(done.stdout))


@hookimpl
def register_devices() -> list[type[Device]]:
    return [MyDevice]
