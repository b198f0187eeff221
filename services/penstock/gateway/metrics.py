"""Every metric of a gateway process: vLLM's names where vLLM has one, `penstock_*` for what is ours.

Units are base units. No label carries a request id, a worker's incarnation or anything else that grows without bound.
"""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from penstock.gateway.local_metrics import LocalCounter, LocalHistogram

TTFT_BUCKETS_S = (0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 60)
ITL_BUCKETS_S = (0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.3, 0.5, 1, 2.5, 5)
E2E_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960)
STAGE_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
TOKEN_BUCKETS = (1, 16, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144)


class GatewayMetrics:
    """Made once against a registry; the HTTP side and the dispatcher each touch their own part."""

    def __init__(self, registry: CollectorRegistry, model_name: str) -> None:
        self.registry = registry
        self._label = {"model_name": model_name}
        self._add_tokens(registry)
        self._add_requests(registry)
        self._add_dispatch(registry)

    def watch_load(self, num_requests: Callable[[], float], num_waiting: Callable[[], float]) -> None:
        """Report the dispatcher's load when scraped: requests it holds, and those of them that wait for a worker."""
        names = ("model_name",)
        running = Gauge("vllm:num_requests_running", "Requests being answered.", names, registry=self.registry)
        waiting = Gauge("vllm:num_requests_waiting", "Requests no worker took yet.", names, registry=self.registry)
        running.labels(**self._label).set_function(lambda: num_requests() - num_waiting())
        waiting.labels(**self._label).set_function(num_waiting)

    def _add_tokens(self, registry: CollectorRegistry) -> None:
        """Touched for every token or batch of tokens."""
        label = self._label
        self.time_to_first_token_s = LocalHistogram(
            "vllm:time_to_first_token_seconds", "From request to first token.", label, TTFT_BUCKETS_S, registry
        )
        self.inter_token_latency_s = LocalHistogram(
            "vllm:inter_token_latency_seconds",
            "Between arrivals of tokens of one sequence; tokens that arrive together count as one arrival.",
            label,
            ITL_BUCKETS_S,
            registry,
        )
        self.prompt_tokens = LocalCounter("vllm:prompt_tokens", "Prompt tokens of answered requests.", label, registry)
        self.cached_prompt_tokens = LocalCounter(
            "vllm:prompt_tokens_cached", "Prompt tokens whose KV was found in a prefix cache.", label, registry
        )
        self.generation_tokens = LocalCounter("vllm:generation_tokens", "Tokens generated.", label, registry)

    def _add_requests(self, registry: CollectorRegistry) -> None:
        """Touched once per sequence or HTTP request."""
        names, model = ("model_name",), self._label["model_name"]
        self.request_success = {
            reason: family.labels(model, reason)
            for family in [
                Counter(
                    "vllm:request_success",
                    "Sequences by the way they ended.",
                    (*names, "finished_reason"),
                    registry=registry,
                )
            ]
            for reason in ("stop", "length", "abort", "error")
        }
        self.e2e_request_latency_s = LocalHistogram(
            "vllm:e2e_request_latency_seconds", "From request to last token.", self._label, E2E_BUCKETS_S, registry
        )
        self.request_prompt_tokens = LocalHistogram(
            "vllm:request_prompt_tokens", "Prompt tokens per prompt.", self._label, TOKEN_BUCKETS, registry
        )
        self.request_generation_tokens = LocalHistogram(
            "vllm:request_generation_tokens", "Tokens generated per sequence.", self._label, TOKEN_BUCKETS, registry
        )
        self.responses = Counter("penstock_gateway_responses", "HTTP responses.", ("path", "status"), registry=registry)
        self.errors = Counter(
            "penstock_gateway_errors", "Requests that ended with an error, by code.", ("code",), registry=registry
        )
        self.open_streams = Gauge(
            "penstock_gateway_open_streams", "Responses being streamed to clients.", registry=registry
        )

    def _add_dispatch(self, registry: CollectorRegistry) -> None:
        """Touched by the dispatcher, a few times per request."""
        self.route_s = Histogram(
            "penstock_route_seconds",
            "From asking the router to its answer.",
            buckets=STAGE_BUCKETS_S,
            registry=registry,
        )
        self.queue_s = Histogram(
            "penstock_gateway_queue_seconds",
            "How long requests that every worker refused waited for capacity.",
            buckets=STAGE_BUCKETS_S,
            registry=registry,
        )
        self.stage_s = Histogram(
            "penstock_stage_seconds",
            "Stages of requests, as measured where they ran.",
            ("stage",),
            buckets=STAGE_BUCKETS_S,
            registry=registry,
        )
        self.rejections = Counter(
            "penstock_rejections", "Refusals by workers, by reason.", ("reason",), registry=registry
        )
        self.resumes = Counter(
            "penstock_resumes",
            "Attempts begun anew because a worker was lost, by reason.",
            ("reason",),
            registry=registry,
        )
        self.routes_without_router = Counter(
            "penstock_routes_without_router",
            "Routes taken from the last membership because no router answered.",
            registry=registry,
        )
        self.lost_workers = Counter("penstock_lost_workers", "Workers this gateway gave up on.", registry=registry)
