"""What a worker computes with, loaded by name: a mock worker never pays for torch."""

import importlib
from pathlib import Path

from penstock.core.errors import InternalError
from penstock.core.policies.admission import AdmissionLimits
from penstock.core.policies.batching import BatchLimits
from penstock.core.schedule import Schedule
from penstock.engine.image_encoder import BuildImageEncoder, ImageEncoder
from penstock.engine.loop import EngineLoop
from penstock.engine.options import Build, EngineOptions
from penstock.engine.runner import Runner
from penstock.runtime import clock
from penstock.runtime.settings import WorkerSettings

ENGINES = {"torch": "penstock.engine.model_runner", "mock": "penstock.engine.mock_runner"}
IMAGE_ENCODERS = {"torch": "penstock.engine.vision.encoder", "mock": "penstock.engine.mock_image_encoder"}


def build_runner(settings: WorkerSettings) -> Runner:
    """Load the language model, or its mock."""
    build: Build = importlib.import_module(ENGINES[settings.engine]).build
    return build(_options(settings))


def build_engine_loop(settings: WorkerSettings, runner: Runner) -> EngineLoop:
    """The loop that runs a model as the settings say."""
    schedule = Schedule(
        BatchLimits(settings.max_batch_tokens, settings.max_num_sequences),
        order=settings.prefill_order,
        tpot_slo_s=settings.tpot_slo_s or float("inf"),
    )
    admission = AdmissionLimits(
        settings.max_num_sequences, 2 * settings.max_batch_tokens, is_by_deadline=schedule.is_by_deadline
    )
    return EngineLoop(runner, schedule, admission, clock.now_s)


def build_image_encoder(settings: WorkerSettings) -> ImageEncoder:
    """Load the vision tower, or its mock."""
    build: BuildImageEncoder = importlib.import_module(IMAGE_ENCODERS[settings.engine]).build_image_encoder
    return build(_options(settings))


def build_image_encoder_beside(settings: WorkerSettings, runner: Runner) -> ImageEncoder | None:
    """None when the worker is not to encode, or its model takes no images."""
    if not settings.encodes_images or runner.embeddings is None:
        return None
    images = build_image_encoder(settings)
    embedding_bytes = images.info.hidden_size * images.info.element_bytes
    if embedding_bytes != runner.embeddings.layout.token_bytes:
        raise InternalError(f"The vision tower makes embeddings of {embedding_bytes} bytes, the model takes others.")
    return images


def _options(settings: WorkerSettings) -> EngineOptions:
    return EngineOptions(
        folder=Path(settings.model),
        device=settings.device,
        dtype=settings.dtype,
        block_size=settings.block_size,
        num_blocks=settings.num_blocks,
        kv_memory_bytes=settings.kv_memory_bytes,
        mock_costs=settings.mock_costs,
    )
