"""Every metric of a gateway process: vLLM's names where vLLM has one, `penstock_*` for what is ours.

Units are base units. No label carries a request id, a worker's incarnation or anything else that grows without bound.
"""

from collections.abc import Callable

from prometheus_client import CollectorRegistry

from penstock.core.histogram import Histogram
from penstock.core.timeline import Stage, Timeline
from penstock.runtime.metrics import AtScrape, Metrics, MetricSpec, counter, gauge, histogram

TTFT_BUCKETS_S = (0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 60)
ITL_BUCKETS_S = (0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.3, 0.5, 1, 2.5, 5)
E2E_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960)
TOKEN_BUCKETS = (1, 16, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144)
FINISHED_REASONS = ("stop", "length", "abort", "error")

_MODEL = ("model_name",)
RUNNING = gauge("vllm:num_requests_running", "requests", "Requests being answered.", _MODEL)
WAITING = gauge("vllm:num_requests_waiting", "requests", "Requests no worker took yet.", _MODEL)


class GatewayMetrics:
    """Made once against a registry; the HTTP side and the dispatcher each touch their own part."""

    def __init__(self, registry: CollectorRegistry, model_name: str) -> None:
        self.registry = registry
        self._model_name = model_name
        self._metrics = Metrics(registry)
        self._add_tokens()
        self._add_sequences()
        self._add_requests()
        self._add_images()
        self._add_dispatch()
        self._add_losses()

    @property
    def specs(self) -> list[MetricSpec]:
        return [*self._metrics.specs, RUNNING, WAITING]

    def watch_load(self, num_requests: Callable[[], float], num_waiting: Callable[[], float]) -> None:
        """Report the dispatcher's load when scraped: requests it holds, and those of them that wait for a worker."""
        label = (self._model_name,)
        self.registry.register(AtScrape(RUNNING, lambda: [(label, num_requests() - num_waiting())]))
        self.registry.register(AtScrape(WAITING, lambda: [(label, num_waiting())]))

    def observe_stages(self, timeline: Timeline) -> None:
        """Once per sequence, when it has ended."""
        for span in timeline.spans:
            self.stage_s.of(span.stage).observe(span.duration_s)
        for stage, family in self._stages_of_vllm:
            if duration_s := timeline.duration_s(stage):
                family.observe(duration_s)

    def _add_tokens(self) -> None:
        """Touched for every token or batch of tokens."""
        add, model = self._metrics, self._model_name
        ttft = histogram(
            "vllm:time_to_first_token_seconds", "seconds", "Request to first token.", _MODEL, bounds=TTFT_BUCKETS_S
        )
        itl = histogram(
            "vllm:inter_token_latency_seconds",
            "seconds",
            "Between arrivals of tokens of one sequence; tokens that arrive together count as one arrival.",
            _MODEL,
            bounds=ITL_BUCKETS_S,
        )
        generated = counter("vllm:generation_tokens_total", "tokens", "Tokens delivered to clients.", _MODEL)
        self.time_to_first_token_s = add.histogram(ttft, model)
        self.inter_token_latency_s = add.histogram(itl, model)
        self.generation_tokens = add.number(generated, model)

    def _add_sequences(self) -> None:
        """Touched once per sequence; a request may ask for several."""
        add, model = self._metrics, self._model_name
        prompt = counter("vllm:prompt_tokens_total", "tokens", "Prompt tokens of requests, cached ones too.", _MODEL)
        cached = counter("vllm:prompt_tokens_cached_total", "tokens", "Those whose KV a prefix cache had.", _MODEL)
        success = counter(
            "vllm:request_success_total", "sequences", "By the way they ended.", (*_MODEL, "finished_reason")
        )
        stage = histogram(
            "penstock_stage_seconds",
            "seconds",
            "Stages, measured where they ran: route, queue (for a worker, and in one), prefill, reserve, "
            "transfer (beginning while the prompt is computed), decode_wait, decode.",
            ("stage",),
        )
        self.prompt_tokens = add.number(prompt, model)
        self.cached_prompt_tokens = add.number(cached, model)
        self.request_success = {
            reason: family.of(reason) for family in [add.numbers(success, model)] for reason in FINISHED_REASONS
        }
        self.e2e_request_latency_s = self._seconds("e2e_request_latency", "Request to last token.", E2E_BUCKETS_S)
        self.time_per_output_token_s = self._seconds(
            "request_time_per_output_token", "Mean over a sequence's tokens after the first.", ITL_BUCKETS_S
        )
        self._stages_of_vllm = (
            (Stage.QUEUE, self._seconds("request_queue_time", "Waiting for a worker, and in one.", E2E_BUCKETS_S)),
            (Stage.PREFILL, self._seconds("request_prefill_time", "Computing the prompt.", E2E_BUCKETS_S)),
            (Stage.DECODE, self._seconds("request_decode_time", "First decode step to last token.", E2E_BUCKETS_S)),
        )
        self.request_prompt_tokens = self._tokens("request_prompt_tokens", "Prompt tokens per prompt.")
        self.request_generation_tokens = self._tokens("request_generation_tokens", "Tokens per sequence.")
        self.stage_s = add.histograms(stage)

    def _add_requests(self) -> None:
        """Touched once per HTTP request. `tenant` has as many values as there are keys, or a bounded number."""
        add = self._metrics
        responses = counter("penstock_gateway_responses_total", "responses", "HTTP responses.", ("path", "status"))
        requests = counter(
            "penstock_requests_total",
            "requests",
            "For completions, by outcome: answered, invalid (the client's to change), shed (429), failed, cancelled.",
            ("tenant", "outcome"),
        )
        tokens = counter(
            "penstock_tenant_tokens_total", "tokens", "By kind: prompt, cached (of these), output.", ("tenant", "kind")
        )
        refusals = counter(
            "penstock_tenant_refusals_total", "requests", "Requests ended by an error, by code.", ("tenant", "code")
        )
        slo = counter(
            "penstock_slo_sequences_total",
            "sequences",
            "Against their objective (ttft, tpot), by outcome: met, missed. Shed and failed ones missed both.",
            ("objective", "outcome"),
        )
        cancellations = counter(
            "penstock_cancellations_total", "requests", "Clients that left: waiting, or streaming.", ("while",)
        )
        streams = gauge("penstock_gateway_open_streams", "responses", "Responses being streamed to clients.")
        remembered = gauge(
            "penstock_gateway_remembered_requests", "requests", "Timelines held: running, finished.", ("state",)
        )
        self.responses = add.numbers(responses)
        self.requests = add.numbers(requests)
        self.tenant_tokens = add.numbers(tokens)
        self.refusals = add.numbers(refusals)
        self.slo = add.numbers(slo)
        self.cancellations = add.numbers(cancellations)
        self.open_streams = add.number(streams)
        self.remembered = add.numbers(remembered)

    def _add_images(self) -> None:
        """Touched once per image of a request."""
        add = self._metrics
        images = counter(
            "penstock_images_total",
            "images",
            "Of requests, by where they came from (data, url) and outcome (read, refused).",
            ("source", "outcome"),
        )
        image = histogram("penstock_image_read_seconds", "seconds", "From its URL to a checked file.")
        self.images = add.numbers(images)
        self.image_s = add.histogram(image)

    def _add_dispatch(self) -> None:
        """Touched by the dispatcher, a few times per request."""
        add = self._metrics
        self.route_s = add.histogram(
            histogram("penstock_route_seconds", "seconds", "From asking the router to its answer.")
        )
        self.queue_s = add.histogram(
            histogram(
                "penstock_gateway_queue_seconds",
                "seconds",
                "How long requests that every worker refused waited for capacity.",
            )
        )
        self.rejections = add.numbers(
            counter("penstock_rejections_total", "offers", "Refusals by workers, by reason.", ("reason",))
        )
        self.routes_without_router = add.number(
            counter(
                "penstock_routes_without_router_total",
                "routes",
                "Taken from the last membership because no router answered.",
            )
        )

    def _add_losses(self) -> None:
        """Touched when something has gone."""
        add = self._metrics
        self.errors = add.numbers(
            counter("penstock_gateway_errors_total", "requests", "HTTP requests ended by an error, by code.", ("code",))
        )
        self.resumes = add.numbers(
            counter("penstock_resumes_total", "attempts", "Begun anew because one was lost, by reason.", ("reason",))
        )
        self.lost_workers = add.number(
            counter("penstock_lost_workers_total", "workers", "Workers this gateway gave up on.")
        )

    def _seconds(self, name: str, meaning: str, bounds: tuple[float, ...]) -> Histogram:
        spec = histogram(f"vllm:{name}_seconds", "seconds", meaning, _MODEL, bounds=bounds)
        return self._metrics.histogram(spec, self._model_name)

    def _tokens(self, name: str, meaning: str) -> Histogram:
        spec = histogram(f"vllm:{name}", "tokens", meaning, _MODEL, bounds=TOKEN_BUCKETS)
        return self._metrics.histogram(spec, self._model_name)
