"""A segmentor as one plain function, as an ONNX file and as a `torch.export` program."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from mmmagnet.datasets.transforms.expression import TokenizeExpression, load_tokenizer
from mmmagnet.models.layers import cross_decoder, deformable_attention, positions
from mmmagnet.models.text_encoders import staged_clip_text
from mmmagnet.utils.errors import ConfigError

OPSET = 18
"""Operators of ONNX that the file uses: those of onnxruntime since 1.15, for CPU and CUDA."""

FACTS = 'mmmagnet'
"""Name of what a runner must know, as JSON: in the metadata of ONNX, in the extra files of a `torch.export` program."""

Run = Callable[[dict[str, Tensor]], list[np.ndarray]]


class ExportableSegmentor(nn.Module):
    """A segmentor as a function of tensors, with the normalisation of images inside.

    Args:
        model: A `ReferringSegmentor` in evaluation mode. It is not compiled.

    Example:
        >>> network = ExportableSegmentor(ReferringInferencer('work_dirs/tiny/epoch_3.pth', device='cpu').model)
        >>> image = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
        >>> input_ids, word_mask = torch.tensor([[2, 9, 3]]), torch.ones(1, 3, dtype=torch.int64)
        >>> network(image, input_ids, word_mask)[0].shape
        torch.Size([1, 64, 64])
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.reads_rgb = bool(model.data_preprocessor._channel_conversion)  # the pipeline gives BGR

    def forward(self, image: Tensor, input_ids: Tensor, word_mask: Tensor) -> tuple[Tensor, ...]:
        """Segment.

        Args:
            image: RGB, (B, 3, H, W) uint8 of the size that the network was trained with.
            input_ids: Token ids (B, L) int64.
            word_mask: (B, L) int64, 1 = real word.

        Returns:
            Logits of the foreground (B, H, W) float32; then the target score (B,), where the decode head has one. The
            mask is empty where that is below `target_threshold` of the head; the logits do not show it.
        """
        pixels = image.float() if self.reads_rgb else image.float().flip(1)
        prepared = self.model.data_preprocessor
        if prepared._enable_normalize:
            pixels = (pixels - prepared.mean) / prepared.std
        decoded = self.model.decode_head(self.model.extract_feat(pixels, input_ids, word_mask))
        score = decoded.target_score
        whole = replace(decoded, target_score=None)  # no mask is emptied: the runner does that, by the score
        logits = self.model.decode_head.predict_by_feat(whole, image.shape[2:])[:, 0]
        return (logits,) if score is None else (logits, score)


def runner_facts(model: Any, transforms: Sequence[Any]) -> dict[str, Any]:
    """What a runner must know beside the graph.

    Args:
        model: The segmentor.
        transforms: Of its test pipeline.

    Returns:
        ``max_words``, L; ``threshold``, the logit above which a pixel is in the mask; ``target_threshold``, the
        target score below which the mask is empty; ``tokenizer``, the content of a
        ``tokenizer.json`` that pads, and that truncates where the end token is kept. Cut its ids to `max_words`.

    Raises:
        ConfigError: If the pipeline has no `TokenizeExpression`.
        DataError: If the tokenizer cannot be loaded.
    """
    step = next((step for step in transforms if isinstance(step, TokenizeExpression)), None)
    if step is None:
        raise ConfigError('the test pipeline has no TokenizeExpression, which says how long an expression may be')
    source: Any = load_tokenizer(step.tokenizer)
    tokenizer = Tokenizer.from_str(source.backend_tokenizer.to_str())
    pad = source.pad_token_id if step.pad_token_id is None else step.pad_token_id
    parts = (model.text_encoder, model.neck, model.decode_head)
    reads_padding = any(part.reads_padding for part in parts) or not model.data_preprocessor.trim_words
    tokenizer.enable_padding(pad_id=pad, length=step.max_length if reads_padding else None)
    if step.keep_end:
        tokenizer.enable_truncation(step.max_length)
    threshold = model.decode_head.threshold
    return {
        'max_words': step.max_length,
        'threshold': math.log(threshold / (1 - threshold)),
        'target_threshold': model.decode_head.target_threshold,
        'tokenizer': tokenizer.to_str(),
    }


def example_inputs(size: Sequence[int], batch: int, words: int, vocabulary: int, seed: int = 0) -> dict[str, Tensor]:
    """Noise and random words as inputs of an `ExportableSegmentor`; the last expression is one token shorter.

    Args:
        size: H and W, pixels.
        batch: B.
        words: L, 2 at least.
        vocabulary: Number of token ids.
        seed: Of the noise.
    """
    generator = torch.Generator().manual_seed(seed)
    word_mask = torch.ones(batch, words, dtype=torch.int64)
    if words > 2:
        word_mask[-1, -1] = 0
    return {
        'image': torch.randint(0, 256, (batch, 3, *size), dtype=torch.uint8, generator=generator),
        'input_ids': torch.randint(0, vocabulary, (batch, words), generator=generator),
        'word_mask': word_mask,
    }


@torch.no_grad()
def trace(network: ExportableSegmentor, inputs: dict[str, Tensor]) -> ExportedProgram:
    """The graph of a network for any B and L; H and W are those of `inputs`.

    Args:
        network: On the CPU.
        inputs: As `example_inputs` makes them, with B and L above 1.
    """
    network(**inputs)  # what the layers keep for a size is now kept as numbers, not as what stands for them in a trace
    limit = network.model.text_encoder.max_tokens
    batch, words = Dim('batch', max=4096), Dim('words', min=3, max=limit or 512)
    shapes = {'image': {0: batch}, 'input_ids': {0: batch, 1: words}, 'word_mask': {0: batch, 1: words}}
    with traceable():
        return torch.export.export(network, (), kwargs=inputs, dynamic_shapes=shapes, strict=False)


@contextmanager
def traceable() -> Iterator[None]:
    """Exchange what a graph of any batch cannot hold, while it is traced.

    The fast sampling on CPUs takes blocks by the size of the batch. A cache by number of words has no number to look
    up. ONNX has no contexts without autocast, and no attention without an axis of heads.
    """
    attention = F.scaled_dot_product_attention

    def with_heads(query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if query.dim() == 3:
            return with_heads(query[:, None], key[:, None], value[:, None], *args, **kwargs)[:, 0]
        return attention(query, key, value, *args, **kwargs).contiguous()  # strides differ from kernel to kernel

    def samples(plane: Tensor, grid: Tensor, share: Tensor) -> Tensor:
        return (deformable_attention._sample(plane, grid) * share.unsqueeze(1)).sum(2)

    exchanged: list[tuple[Any, str, Any]] = [
        (deformable_attention, 'sample_by_rows', deformable_attention.sample_by_grid),
        (deformable_attention, 'WeightedSamples', SimpleNamespace(apply=samples)),  # all maps at once
        (cross_decoder, 'sine_positions_1d', positions.sine_positions_1d.__wrapped__),
        (staged_clip_text, 'causal_mask', staged_clip_text.causal_mask.__wrapped__),
        (torch, 'autocast', lambda *_, **__: nullcontext()),
        (F, 'scaled_dot_product_attention', with_heads),
    ]
    with ExitStack() as stack:
        for module, name, plain in exchanged:
            stack.enter_context(patch.object(module, name, plain))
        yield


def save_program(program: ExportedProgram, path: Path, facts: dict[str, Any]) -> None:
    """Write a `torch.export` program with its facts; `path` ends in ``.pt2``."""
    torch.export.save(program, path, extra_files={f'{FACTS}.json': json.dumps(facts)})


@torch.no_grad()
def save_onnx(program: ExportedProgram, path: Path, facts: dict[str, Any], outputs: Sequence[str]) -> None:
    """Write an ONNX file with its weights and facts inside.

    Raises:
        ConfigError: If onnx or onnxscript is not installed.
    """
    needed('onnx', 'onnxscript')
    traced = torch.onnx.export(program, dynamo=True, opset_version=OPSET, output_names=list(outputs), verbose=False)
    traced.model.metadata_props[FACTS] = json.dumps(facts)  # type: ignore[union-attr]
    traced.save(path, external_data=False)  # type: ignore[union-attr]


def reduce_precision(source: Path, path: Path, precision: str) -> None:
    """Write an ONNX file of weights of fewer bits, which takes and gives what the source does.

    Args:
        source: File in fp32.
        path: File to write.
        precision: ``'fp16'``: weights and most operators in half precision, meant for GPUs. ``'int8'``: weights of
            matrix products in 8 bits, their inputs quantised as they come, meant for CPUs.

    Raises:
        ConfigError: If onnx or onnxruntime is not installed.
    """
    needed('onnx', 'onnxruntime')
    import onnx

    facts = {entry.key: entry.value for entry in onnx.load(str(source), load_external_data=False).metadata_props}
    if precision == 'fp16':
        from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

        kept = [*DEFAULT_OP_BLOCK_LIST, 'GridSample', 'Resize', 'LayerNormalization', 'InstanceNormalization']
        model = convert_float_to_float16(onnx.load(str(source)), keep_io_types=True, op_block_list=kept)
    else:
        from onnxruntime.quantization import QuantType, quantize_dynamic
        from onnxruntime.quantization.shape_inference import quant_pre_process

        folded = path.with_suffix('.folded')  # where transposed weights are weights again
        quant_pre_process(str(source), str(folded), skip_symbolic_shape=True)
        kinds = ['MatMul', 'Gemm']
        quantize_dynamic(str(folded), str(path), op_types_to_quantize=kinds, weight_type=QuantType.QInt8)
        folded.unlink()
        model = onnx.load(str(path))
    onnx.helper.set_model_props(model, facts)
    onnx.save(model, str(path))


def run_eager(network: ExportableSegmentor) -> Run:
    """Outputs of the network itself."""

    @torch.no_grad()
    def run(inputs: dict[str, Tensor]) -> list[np.ndarray]:
        return [output.numpy() for output in network(**inputs)]

    return run


def run_program(path: Path) -> Run:
    """Outputs of a `torch.export` program."""
    network = torch.export.load(path).module()

    @torch.no_grad()
    def run(inputs: dict[str, Tensor]) -> list[np.ndarray]:
        return [output.numpy() for output in network(**inputs)]

    return run


def run_onnx(path: Path) -> Run:
    """Outputs of an ONNX file by onnxruntime, on as many threads as PyTorch uses.

    Raises:
        ConfigError: If onnxruntime is not installed.
    """
    needed('onnxruntime')
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
    return lambda inputs: session.run(None, {name: value.numpy() for name, value in inputs.items()})


def largest_error(expected: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> float:
    """Largest difference of any output, as a fraction of the output's largest value; NaN where one is not a number.

    Example:
        >>> largest_error([np.array([2.0, -4.0])], [np.array([2.0, -3.0])])
        0.25
    """
    errors = [np.abs(one - other).max() / np.abs(one).max() for one, other in zip(expected, found, strict=True)]
    return float(np.max(errors))


def needed(*packages: str) -> None:
    """Refuse to go on without packages of the extra ``export``.

    Raises:
        ConfigError: Naming the first that is not installed.
    """
    from importlib.util import find_spec

    for package in packages:
        if find_spec(package) is None:
            raise ConfigError(f"{package} is not installed; pip install 'mmmagnet[export]'")
