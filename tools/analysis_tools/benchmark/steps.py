"""One batch of random data, and the steps that run a segmentor on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor


def make_batch(
    model: Any, batch: int, size: tuple[int, int], tokens: int, device: str, expressions: int = 1
) -> tuple[Tensor, list[SegDataSample]]:
    """Noise images (B, 3, H, W), and for each some data samples with L random words and a rectangle as the mask."""
    generator = torch.Generator().manual_seed(0)
    referring = hasattr(model, 'text_encoder')
    words = model.text_encoder.vocab_size if referring else 2
    samples = []
    for index in range(batch * expressions):
        ids = torch.randint(1, words, (tokens,), generator=generator)
        truth = torch.zeros(1, *size, dtype=torch.uint8 if referring else torch.int64)  # mmseg's losses need int64
        truth[:, size[0] // 4 : size[0] // 2, size[1] // 4 : size[1] // 2] = 1
        sample = SegDataSample(metainfo={'img_shape': size, 'ori_shape': size})
        sample.set_data({'input_ids': ids, 'word_mask': torch.ones_like(ids)})
        if expressions > 1:
            sample.image_index = torch.tensor(index // expressions)
        sample.gt_sem_seg = PixelData(data=truth)
        samples.append(sample.to(device))
    return torch.randn(batch, 3, *size, generator=generator).to(device), samples


def prediction_step(model: Any, inputs: Tensor, samples: list[SegDataSample]) -> Callable[[], None]:
    """Function that predicts the masks of a batch."""
    model.eval().requires_grad_(False)

    def step() -> None:
        with torch.no_grad():
            model.predict(inputs, samples)

    return step


class TrainingStep:
    """Training step of a segmentor on one batch, callable again and again.

    Example:
        >>> step = TrainingStep(model, torch.optim.AdamW(model.parameters()), *make_batch(model, 2, (64, 64), 6, 'cpu'))
        >>> step()

    Args:
        model: Segmentor of this project or of mmseg. It is set to training mode.
        optimizer: Optimizer of its parameters.
        inputs: Normalised images (B, 3, H, W).
        samples: Data samples of the B images.
    """

    def __init__(
        self, model: Any, optimizer: torch.optim.Optimizer, inputs: Tensor, samples: list[SegDataSample]
    ) -> None:
        self.model = model.train()
        self.optimizer = optimizer
        self.inputs = inputs
        self.samples = samples

    def __call__(self) -> None:
        """Run both passes and the optimizer."""
        self.optimizer.zero_grad()
        self.forward_backward()
        self.optimizer.step()

    def forward_backward(self) -> None:
        """Run both passes."""
        losses = self.model.loss(self.inputs, self.samples)
        self.backward(sum(value for name, value in losses.items() if 'loss' in name))

    def backward(self, loss: Any) -> None:
        """Run the backward pass, in which each operation has the type of its forward pass."""
        with torch.autocast(self.inputs.device.type, enabled=False):
            loss.backward()
