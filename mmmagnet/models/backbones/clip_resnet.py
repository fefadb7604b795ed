"""CLIP's ResNet, whose attention pooling becomes a map (CRIS)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmmagnet.registry import MODELS
from mmmagnet.utils.checkpoint import load_checked

from ..clip_checkpoint import image_rules, read_clip, rename


class CLIPBottleneck(nn.Module):
    """Residual block that strides by average pooling, in its second half and in its shortcut.

    Args:
        in_channels: Channels of the input.
        planes: Inner channels p; the result has 4 p.
        stride: 1 or 2.
        shortcut: Whether the shortcut is a convolution; otherwise it is the input itself.
    """

    def __init__(self, in_channels: int, planes: int, stride: int, shortcut: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, 4 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        self.pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.downsample: nn.Module = nn.Identity()
        if shortcut:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, 4 * planes, 1, bias=False), nn.BatchNorm2d(4 * planes)
            )
        self.shortcut = shortcut

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 4 p, H / stride, W / stride)."""
        result = F.relu(self.bn1(self.conv1(image)))
        result = self.pool(F.relu(self.bn2(self.conv2(result))))
        result = self.bn3(self.conv3(result))
        return F.relu(result + (self.downsample(self.pool(image)) if self.shortcut else image))


class AttentionMap(nn.Module):
    """CLIP's attention pooling, with every place of the map as a query in the place of their mean.

    Args:
        in_channels: Channels C of the map.
        out_channels: Channels E of the result.
        side: G, side of the position table.
        num_heads: Heads of the attention.
    """

    def __init__(self, in_channels: int, out_channels: int, side: int, num_heads: int) -> None:
        super().__init__()
        self.side = side
        self.num_heads = num_heads
        self.positional_embedding = nn.Parameter(torch.randn(side * side + 1, in_channels) / in_channels**0.5)
        self.q_proj = nn.Linear(in_channels, in_channels)
        self.k_proj = nn.Linear(in_channels, in_channels)
        self.v_proj = nn.Linear(in_channels, in_channels)
        self.c_proj = nn.Linear(in_channels, out_channels)
        self.connect = nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels))

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, E, H, W)."""
        size = image.shape[2:]
        table = self.positional_embedding[1:].T.unflatten(1, (self.side, self.side))[None]
        if tuple(size) != (self.side, self.side):
            table = F.interpolate(table, size, mode='bicubic', align_corners=False)
        tokens = (image + table).flatten(2).transpose(1, 2)
        heads = [
            projection(tokens).unflatten(2, (self.num_heads, -1)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        ]
        read = self.c_proj(F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))
        return F.relu(read.transpose(1, 2).unflatten(2, size) + self.connect(image))


@MODELS.register_module()
class CLIPResNet(BaseModule):
    """CLIP's ResNet as CRIS has it (arXiv 2111.15174 [O]): maps of strides 8, 16 and 32.

    Args:
        depths: Number of blocks of each of the four stages; (3, 4, 6, 3) is ResNet-50, (3, 4, 23, 3) ResNet-101.
        width: w, channels of the stem.
        embed_dims: E, channels of the coarsest map: 1024 with ResNet-50, 512 with ResNet-101.
        pretrain_size: Side of the images of CLIP's training in pixels, which fixes the position table.
        pretrained: File of CLIP's own state dict (RN50 or RN101), read by `init_weights` only. CLIP has no weights for
            `attention_map.connect`, which stays as it is.
        init_cfg: MMEngine initialisation config.

    Example:
        >>> backbone = CLIPResNet(depths=(1, 1, 1, 1), width=16, embed_dims=32, pretrain_size=64)
        >>> [tuple(image.shape) for image in backbone(torch.rand(1, 3, 64, 64))]
        [(1, 128, 8, 8), (1, 256, 4, 4), (1, 32, 2, 2)]
    """

    reads_words = False

    def __init__(
        self,
        depths: Sequence[int] = (3, 4, 6, 3),
        width: int = 64,
        embed_dims: int = 1024,
        pretrain_size: int = 224,
        pretrained: str | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.conv1 = nn.Conv2d(3, width // 2, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width // 2)
        self.conv2 = nn.Conv2d(width // 2, width // 2, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width // 2)
        self.conv3 = nn.Conv2d(width // 2, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        channels = width
        self.stages = nn.ModuleList()
        for stage, depth in enumerate(depths):
            planes = width * 2**stage
            blocks = []
            for block in range(depth):
                stride = 2 if stage and not block else 1
                blocks.append(CLIPBottleneck(channels, planes, stride, shortcut=not block))
                channels = 4 * planes
            self.stages.append(nn.Sequential(*blocks))
        self.attention_map = AttentionMap(channels, embed_dims, pretrain_size // 32, channels // 64)
        self.out_channels = (8 * width, 16 * width, embed_dims)
        self.pretrained = pretrained

    def init_weights(self) -> None:
        """Load `pretrained`, where it is given.

        Raises:
            FileNotFoundError: If the file is not there.
            CheckpointError: If the file cannot be read safely, or holds no ResNet of this size.
        """
        super().init_weights()
        if self.pretrained is None:
            return
        entries = {name: value for name, value in read_clip(self.pretrained).items() if name.startswith('visual.')}
        connect = {name: value for name, value in self.state_dict().items() if '.connect.' in name}
        weights = {**rename(entries, image_rules(r'visual\.', '')), **connect}
        load_checked(self, weights, self.pretrained, 'give `pretrained` of the backbone a CLIP ResNet of its size')

    def forward(self, inputs: Tensor) -> list[Tensor]:
        """Run all stages.

        Args:
            inputs: Images (B, 3, H, W), normalised; H and W are multiples of 32.

        Returns:
            Maps of strides 8, 16 and 32, (B, C, H_i, W_i).

        Raises:
            ValueError: If 32 does not divide H and W.
        """
        if inputs.shape[2] % 32 or inputs.shape[3] % 32:
            raise ValueError(f'CLIPResNet: images of {tuple(inputs.shape[2:])} pixels; give multiples of 32')
        image = F.relu(self.bn1(self.conv1(inputs)))
        image = F.relu(self.bn2(self.conv2(image)))
        image = F.avg_pool2d(F.relu(self.bn3(self.conv3(image))), 2)
        maps = []
        for stage in self.stages:
            image = stage(image)
            maps.append(image)
        return [*maps[1:3], self.attention_map(image)]
