"""Built-in metrics of artifacts, and devices, which measure latency."""

from eicompress.deployment import Device
from eicompress.hookspecs import hookimpl
from eicompress.measures import Metric
from eicompress.metrics.latency import LatencyMetric
from eicompress.metrics.memory import MemoryMetric
from eicompress.metrics.quality import QualityMetric
from eicompress.metrics.size import DownloadMetric, SizeMetric


@hookimpl
def register_metrics() -> list[type[Metric]]:
    return [SizeMetric, DownloadMetric, LatencyMetric, MemoryMetric, QualityMetric]


@hookimpl
def register_devices() -> list[type[Device]]:
    # Its runtime is not needed for the names of metrics.
    from eicompress.metrics.this_machine import ThisMachine

    return [ThisMachine]
