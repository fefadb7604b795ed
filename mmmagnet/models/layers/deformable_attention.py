"""Multi-scale deformable attention (Deformable DETR, eq. 3) in plain PyTorch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_BLOCK = 1024  # queries of a batch that `sample_by_rows` takes at a time


class DeformableAttention(nn.Module):
    """Each query reads a few points of every level, at learned offsets from its own position.

    Parameter names are mmcv's (`MultiScaleDeformableAttention`), whose compiled kernel is used on CUDA where it is
    installed; nothing needs it.

    Args:
        width: Channels E of queries, values and result.
        num_levels: Levels S.
        num_heads: Heads h.
        num_points: Points P read per head and level.
    """

    def __init__(self, width: int = 256, num_levels: int = 4, num_heads: int = 8, num_points: int = 4) -> None:
        super().__init__()
        if width % num_heads:
            raise ValueError(f'num_heads={num_heads} does not divide the width {width} of the deformable attention')
        self.num_levels, self.num_heads, self.num_points = num_levels, num_heads, num_points
        self.sampling_offsets = nn.Linear(width, num_heads * num_levels * num_points * 2)
        self.attention_weights = nn.Linear(width, num_heads * num_levels * num_points)
        self.value_proj = nn.Linear(width, width)
        self.output_proj = nn.Linear(width, width)
        self._init_weights()

    def _init_weights(self) -> None:
        """Start as Deformable DETR does: heads look in different directions, points lie further out one by one."""
        nn.init.zeros_(self.sampling_offsets.weight)
        angles = torch.arange(self.num_heads) * (2 * math.pi / self.num_heads)
        direction = torch.stack([angles.cos(), angles.sin()], dim=1)
        direction = direction / direction.abs().max(1, keepdim=True).values
        steps = torch.arange(1, self.num_points + 1)
        offsets = direction[:, None, None] * steps[None, None, :, None].expand(-1, self.num_levels, -1, -1)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(offsets.flatten())
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for projection in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)

    def forward(self, query: Tensor, value: Tensor, reference: Tensor, shapes: Sequence[tuple[int, int]]) -> Tensor:
        """Read values at reference points plus offsets.

        Args:
            query: (B, Q, E).
            value: (B, N, E), the levels one after another, N = sum of their H * W.
            reference: (Q, 2), (x, y) of each query in 0..1.
            shapes: (H, W) of each level.

        Returns:
            (B, Q, E).
        """
        batch, length, _ = query.shape
        heads, levels, points = self.num_heads, self.num_levels, self.num_points
        offsets = self.sampling_offsets(query).view(batch, length, heads, levels, points, 2)
        weights = self.attention_weights(query).view(batch, length, heads, levels * points).softmax(-1)
        weights = weights.view(batch, length, heads, levels, points)
        # (S, P, 2) and (Q, 1, S, P, 2), written out: broadcasting along last axes is slow
        sizes = level_sizes(tuple(shapes), query.device).unsqueeze(1).repeat(1, points, 1)
        locations = reference.repeat(1, levels * points).view(length, 1, levels, points, 2) + offsets / sizes
        value = self.value_proj(value).unflatten(2, (heads, -1))
        kernel = compiled_kernel() if value.is_cuda else None
        if kernel is not None:
            sampled = run_compiled(kernel, value, shapes, locations, weights)
        elif value.is_cuda or torch.is_grad_enabled():
            sampled = sample_by_grid(value, shapes, locations, weights)
        else:
            sampled = sample_by_rows(value, shapes, locations, weights)
        return self.output_proj(sampled.to(query.dtype))


def sample_by_grid(value: Tensor, shapes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of bilinear samples, zero outside the maps, by `grid_sample`.

    Args:
        value: (B, N, h, c).
        shapes: (H, W) of each level.
        locations: (B, Q, h, S, P, 2), (x, y) in 0..1.
        weights: (B, Q, h, S, P).

    Returns:
        (B, Q, h * c).
    """
    batch, _, heads, channels = value.shape
    length = locations.shape[1]
    # sampled in fp32 at least: half precision cannot tell places in a pixel apart
    wide = torch.promote_types(value.dtype, torch.float32)
    # queries last: the widest axis is the contiguous one, and levels are summed one by one to stay in the cache
    grids = (2 * locations - 1).permute(3, 0, 2, 4, 1, 5).flatten(1, 2).to(wide)  # (S, B * h, P, Q, 2)
    shares = weights.permute(3, 0, 2, 4, 1).flatten(1, 2).to(wide)  # (S, B * h, P, Q)
    total = value.new_zeros(())
    levels = value.split([height * width for height, width in shapes], dim=1)
    for level, grid, share, (height, width) in zip(levels, grids, shares, shapes, strict=True):
        plane = level.permute(0, 2, 3, 1).reshape(batch * heads, channels, height, width)
        total = total + WeightedSamples.apply(plane.to(wide), grid, share).to(value.dtype)
    return total.view(batch, heads * channels, length).transpose(1, 2)


class WeightedSamples(torch.autograd.Function):
    """Bilinear samples of maps, weighted and summed over the points; the samples are not kept for the backward pass.

    They are P times as large as the result, so they are sampled again there. On CPUs, maps are taken a few at a
    time, so that samples stay in the cache.
    """

    @staticmethod
    def forward(ctx: Any, plane: Tensor, grid: Tensor, share: Tensor) -> Tensor:
        """Maps (n, c, H, W), places (n, P, Q, 2) in -1..1 and weights (n, P, Q) -> (n, c, Q)."""
        ctx.save_for_backward(plane, grid, share)
        parts = zip(*(tensor.split(_maps_at_a_time(plane)) for tensor in (plane, grid, share)), strict=True)
        return torch.cat([(_sample(part, places) * weight.unsqueeze(1)).sum(2) for part, places, weight in parts])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of the maps, places and weights."""
        saved = ctx.saved_tensors  # read once: checkpointing frees them
        found = []
        tensors = (*saved, grad.unsqueeze(2))
        for part, places, weight, given in zip(
            *(tensor.split(_maps_at_a_time(saved[0])) for tensor in tensors), strict=True
        ):
            of_weight = (_sample(part, places) * given).sum(1)
            of_part, of_places = torch.ops.aten.grid_sampler_2d_backward(
                given * weight.unsqueeze(1), part, places, 0, 0, False, (True, True)
            )
            found.append((of_part, of_places, of_weight))
        of_plane, of_grid, of_share = (torch.cat(parts) for parts in zip(*found, strict=True))
        return of_plane, of_grid, of_share


def _sample(plane: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(plane, grid, mode='bilinear', padding_mode='zeros', align_corners=False)


def _maps_at_a_time(plane: Tensor) -> int:
    """One for each thread on CPUs, which share the maps of a call; all of them elsewhere."""
    return torch.get_num_threads() if plane.device.type == 'cpu' else max(len(plane), 1)


def sample_by_rows(value: Tensor, shapes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor) -> Tensor:
    """`sample_by_grid` as one weighted sum of rows for each query and head, all levels at once.

    Several times as fast on CPUs, but not its backward pass.

    Each sample is four rows, those of the pixels around it, with their bilinear shares. Every map gets a frame of zeros
    for what lies outside. Queries are taken in blocks whose indices and shares fit into the cache.
    """
    batch, _, heads, channels = value.shape
    points = weights.shape[4]
    wide = torch.promote_types(value.dtype, torch.float32)
    framed = [
        F.pad(level.unflatten(1, shape), (0, 0, 1, 1, 1, 1)).flatten(1, 2)
        for level, shape in zip(
            value.flatten(2).to(wide).split([height * width for height, width in shapes], dim=1), shapes, strict=True
        )
    ]
    behind = max(width for _, width in shapes) + 4  # the rows that follow the last place, of share 0
    framed.append(framed[0].new_zeros(batch, behind, heads * channels))
    rows = torch.cat(framed, dim=1)  # (B, N', h * c)
    planes = rows.shape[1] * heads * torch.arange(batch, dtype=torch.int32, device=value.device).view(batch, 1, 1, 1, 1)
    rows = rows.view(-1, channels)

    # written out to the last axes, again
    sizes = level_sizes(tuple(shapes), value.device).unsqueeze(1).repeat(1, points, 1).to(wide)  # (S, P, 2)
    widths = sizes[..., 0].int() + 2
    ends = widths.new_tensor([0] + [level.shape[1] for level in framed]).cumsum(0, dtype=torch.int32)
    head = torch.arange(heads, dtype=torch.int32, device=value.device).view(heads, 1, 1)
    origin = (ends[: len(shapes), None] + widths + 1) * heads + head + planes  # (B, 1, h, S, P): row of pixel (0, 0)
    one = torch.ones_like(widths)
    steps = torch.stack([one - 1, one, widths, widths + 1]) * heads  # (4, S, P): to the pixels around

    results = []
    block = max(_BLOCK // batch, 1)
    for places, share in zip(locations.split(block, dim=1), weights.split(block, dim=1), strict=True):
        places = torch.minimum((places.to(wide) * sizes - 0.5).clamp(min=-1), sizes)
        corner = places.floor()
        right, below = (places - corner).unbind(-1)  # (B, q, h, S, P)
        x, y = corner.int().unbind(-1)
        index = ((y * widths + x) * heads + origin).unsqueeze(3) + steps  # (B, q, h, 4, S, P)
        index = index.clamp(0, len(rows) - 1)  # what is not finite has a row, too
        share = share.to(wide)
        lower = share * below
        upper = share - lower
        upper_right, lower_right = upper * right, lower * right
        shares = torch.stack([upper - upper_right, upper_right, lower - lower_right, lower_right], dim=3)
        sampled = F.embedding_bag(
            index.flatten(3).flatten(0, 2), rows, per_sample_weights=shares.flatten(3).flatten(0, 2), mode='sum'
        )
        results.append(sampled.view(batch, -1, heads * channels))
    return torch.cat(results, dim=1).to(value.dtype)


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # kept for training, where autograd refuses to save a tensor of inference mode
def level_sizes(shapes: tuple[tuple[int, int], ...], device: torch.device) -> Tensor:
    """(S, 2) float32: (width, height) of each level."""
    return torch.tensor([(width, height) for height, width in shapes], dtype=torch.float32, device=device)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def reference_points(shapes: tuple[tuple[int, int], ...], device: torch.device) -> Tensor:
    """(N, 2) float32: (x, y) of the centre of every token of all levels, in 0..1."""
    points = []
    for height, width in shapes:
        y, x = torch.meshgrid((torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width, indexing='ij')
        points.append(torch.stack([x, y], dim=2).flatten(0, 1))
    return torch.cat(points).to(device)


@lru_cache(maxsize=1)
def compiled_kernel() -> Any:
    """mmcv's compiled autograd function, or None where `mmcv.ops` is not installed."""
    try:
        from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction
    except ImportError:
        return None
    return MultiScaleDeformableAttnFunction


def run_compiled(
    kernel: Any, value: Tensor, shapes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor
) -> Tensor:
    """`sample_by_grid` by mmcv's CUDA kernel, which works in fp32."""
    sizes, starts = level_index(tuple(shapes), value.device)
    return kernel.apply(value.float(), sizes, starts, locations.float().contiguous(), weights.float(), value.shape[0])


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # as above
def level_index(shapes: tuple[tuple[int, int], ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """(S, 2) int64: (H, W) of each level, and (S,) int64: its first token."""
    sizes = torch.tensor(shapes)
    areas = sizes.prod(1)
    return sizes.to(device), (areas.cumsum(0) - areas).to(device)
