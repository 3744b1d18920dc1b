"""Memory and time of a run from the size of its model, where nothing is measured: right within a factor of about two.

Weights, gradients and AdamW's two moments are exact: 4 bytes each. What a token leaves behind in a layer for the
backward pass is counted for ModernBERT: the inputs of two norms and four products, queries, keys, values and the
attention's output, the gate and its activation.
"""

from __future__ import annotations

import time
from typing import Any

import torch

from embedft.encoder.differentiable import TRAINING_TOKEN_BUDGET
from embedft.training.job import Job
from embedft.training.planning.probe import Probe, count_judging, free_memory, resident_memory
from embedft.training.planning.schedule import Schedule
from embedft.training.planning.workload import Workload

BYTES = 4
MOMENTS = 2
ROUNDS = 5
# A training step reaches about half of what one large product does (bundled encoder, 2 cores, fp32 and bf16).
SHARE_OF_PEAK = 0.5
ROUGH = 2.0


def state_bytes(parameters: int, trainable: int, *, ema: bool = False) -> dict[str, int]:
    """Bytes of weights (and of their running mean), gradients, and the optimizer's moments."""
    return {
        "weights": BYTES * (parameters + trainable if ema else parameters),
        "gradients": BYTES * trainable,
        "optimizer": MOMENTS * BYTES * trainable,
    }


def activation_bytes(job: Job, tokens: int) -> int:
    """Bytes that a batch of so many tokens keeps for its backward pass.

    With the gradient cache one chunk is kept at a time; with checkpointing one state a layer, and one layer whole.
    """
    settings = job.config.training
    config = job.base.sentence_transformer[0].config
    hidden, layers = int(config.hidden_size), int(config.num_hidden_layers)
    inner = int(getattr(config, "intermediate_size", 4 * hidden))
    a_layer = 8 * hidden + 4 * inner
    alive = min(tokens, TRAINING_TOKEN_BUDGET) if settings.gradient_cache else tokens
    numbers = layers * hidden + a_layer if settings.gradient_checkpointing else layers * a_layer
    return BYTES * alive * numbers


def memory_of(job: Job, parameters: int, trainable: int, work: Workload, probe: Probe | None) -> dict[str, Any]:
    """Bytes that a run holds.

    Keys: ``weights``, ``gradients``, ``optimizer``, ``activations`` (of the largest batch), ``rest`` (libraries, data,
    and what an allocator keeps), ``peak`` (all together), ``device`` (whose memory that is), ``free`` (of it now, None
    where the system does not tell), and ``measured``.

    A measured peak is that of the probe's few steps. On a CPU a run holds more the longer it is: one of 45 steps, whose
    probe held 1.9 GB, ended with 3.0 GB, 25 to 45 MB more a step, most likely because oneDNN keeps what it has prepared
    for each new shape.
    """
    parts = {
        **state_bytes(parameters, trainable, ema=job.config.training.ema is not None),
        "activations": activation_bytes(job, int(work.tokens.max())),
    }
    on_gpu = job.base.device.startswith("cuda")
    peak = None if probe is None else probe.gpu_peak if on_gpu else probe.peak
    if peak is None:
        held = 0 if on_gpu else resident_memory() or 0
        # The weights are held already.
        peak = held + sum(parts.values()) - (0 if on_gpu else parts["weights"])
    free = torch.cuda.mem_get_info()[0] if on_gpu else free_memory()
    rest = max(peak - sum(parts.values()), 0)
    measured = probe is not None and (probe.gpu_peak if on_gpu else probe.peak) is not None
    return {**parts, "rest": rest, "peak": peak, "device": job.base.device, "free": free, "measured": measured}


def rough_time(job: Job, work: Workload, schedule: Schedule) -> dict[str, Any]:
    """Seconds of each part of a run, from the number of operations and the speed of one product.

    Keys as of `embedft.training.planning.plan.measured_time`, without those of the probe.
    """
    bf16 = job.base.dtype == torch.bfloat16
    step = step_seconds(job, schedule.accumulation * float(work.tokens.mean()), bf16)
    dev, final = (of.seconds + encoding_seconds(job, of.tokens, bf16) for of in count_judging(job))
    parts = schedule.seconds(step, dev, final, checkpoint=0.0)
    total = parts["total"]
    return {"measured": False, **parts, "low": round(total / ROUGH, 2), "high": round(total * ROUGH, 2)}


def step_seconds(job: Job, tokens: float, bf16: bool) -> float:
    """Seconds to train on so many tokens: 2 operations a weight forwards, 4 backwards, 2 more if it runs twice."""
    settings = job.config.training
    passes = 8 if settings.gradient_cache or settings.gradient_checkpointing else 6
    return passes * tokens * product_weights(job) / (SHARE_OF_PEAK * _operations_a_second(job, bf16))


def encoding_seconds(job: Job, tokens: float, bf16: bool) -> float:
    """Seconds to encode so many tokens."""
    return 2 * tokens * product_weights(job) / (SHARE_OF_PEAK * _operations_a_second(job, bf16))


def product_weights(job: Job) -> int:
    """Weights that each token is multiplied with."""
    modules = job.base.sentence_transformer.modules()
    return sum(module.weight.numel() for module in modules if isinstance(module, torch.nn.Linear))


def _operations_a_second(job: Job, bf16: bool) -> float:
    """Of a product of the encoder's shape on this device, the best of some rounds."""
    model: Any = job.base.sentence_transformer
    hidden = int(model[0].config.hidden_size)
    dtype = torch.bfloat16 if bf16 else torch.float32
    left = torch.randn(2048, hidden, dtype=dtype, device=model.device)
    weight = torch.randn(3 * hidden, hidden, dtype=dtype, device=model.device)
    best = float("inf")
    with torch.inference_mode():
        for _ in range(ROUNDS):
            start = time.perf_counter()
            torch.nn.functional.linear(left, weight).sum().item()
            best = min(best, time.perf_counter() - start)
    return 2.0 * 2048 * hidden * 3 * hidden / best
