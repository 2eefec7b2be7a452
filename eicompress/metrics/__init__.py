"""Built-in metrics: what is measured on an artifact."""

from eicompress.contracts import Metric
from eicompress.hookspecs import hookimpl
from eicompress.metrics.latency import LatencyMetric
from eicompress.metrics.memory import MemoryMetric
from eicompress.metrics.quality import QualityMetric
from eicompress.metrics.size import DownloadMetric, SizeMetric


@hookimpl
def register_metrics() -> list[type[Metric]]:
    return [SizeMetric, DownloadMetric, LatencyMetric, MemoryMetric, QualityMetric]
