"""DINOv2 with registers, frozen, and with adapters that read the words (DETRIS)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmmagnet.registry import MODELS
from mmmagnet.utils.checkpoint import load_checked, read_checkpoint

from ..layers import ImageAdapter


class LayerScale(nn.Module):
    """A learned factor for each channel.

    Args:
        width: Channels C.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        return self.gamma * tokens


class DINOBlock(nn.Module):
    """Block of DINOv2, with an adapter beside its MLP or without one.

    Args:
        width: Channels C.
        num_heads: Heads of the attention.
        adapter: Beside the MLP; None leaves the block as it was published.
    """

    def __init__(self, width: int, num_heads: int, adapter: ImageAdapter | None = None) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = nn.ModuleDict({'qkv': nn.Linear(width, 3 * width), 'proj': nn.Linear(width, width)})
        self.ls1 = LayerScale(width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.ModuleDict({'fc1': nn.Linear(width, 4 * width), 'fc2': nn.Linear(4 * width, width)})
        self.ls2 = LayerScale(width)
        self.adapter = adapter

    def forward(self, tokens: Tensor, words: Tensor, size: tuple[int, int]) -> Tensor:
        """Tokens (B, N, C), words (B, L, D) and size (h, w) of the patches -> tokens (B, N, C)."""
        heads = self.attn['qkv'](self.norm1(tokens)).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        read = F.scaled_dot_product_attention(*heads.unbind(0)).transpose(1, 2).flatten(2)
        tokens = tokens + self.ls1(self.attn['proj'](read))
        normed = self.norm2(tokens)
        update = self.mlp['fc2'](F.gelu(self.mlp['fc1'](normed)))
        if self.adapter is not None:
            update = update + 0.2 * self.adapter(normed, words, size)
        return tokens + self.ls2(update)


@MODELS.register_module()
class AdaptedDINOv2(BaseModule):
    """DINOv2 with registers whose own weights are frozen; adapters in some blocks are trained and read the words.

    DETRIS's image encoder (arXiv 2501.08580 [O]). Entries without ``adapter`` have the names of DINOv2's own file.

    Args:
        text_channels: D, width of the words.
        embed_dims: C.
        depth: Number of blocks.
        num_heads: Heads of each.
        patch_size: Side of a patch in pixels.
        num_registers: Number of register tokens.
        pretrain_size: Side of the images of the position table in pixels.
        adapter_width: Inner channels of the adapters.
        adapter_blocks: Blocks with an adapter, from 0.
        adapter_cross_width: Width of the adapters' cross-attention.
        adapter_heads: Heads of the adapters' cross-attention.
        out_blocks: The two blocks, from 0, whose patches are given beside the last.
        pretrained: File of DINOv2's own state dict, with registers; read by `init_weights` only.
        init_cfg: MMEngine initialisation config.

    Example:
        >>> backbone = AdaptedDINOv2(text_channels=32, embed_dims=48, depth=4, num_heads=4, pretrain_size=56,
        ...                          adapter_width=16, adapter_blocks=(1, 3), adapter_cross_width=16, adapter_heads=4,
        ...                          out_blocks=(1, 2))
        >>> [tuple(image.shape) for image in backbone(torch.rand(1, 3, 56, 56), torch.rand(1, 7, 32))]
        [(1, 48, 4, 4), (1, 48, 4, 4), (1, 48, 4, 4)]
    """

    reads_words = True

    def __init__(
        self,
        text_channels: int,
        embed_dims: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        patch_size: int = 14,
        num_registers: int = 4,
        pretrain_size: int = 526,
        adapter_width: int = 128,
        adapter_blocks: Sequence[int] = (1, 3, 5, 7, 9, 11),
        adapter_cross_width: int = 128,
        adapter_heads: int = 8,
        out_blocks: Sequence[int] = (4, 8),
        pretrained: str | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.patch_size = patch_size
        self.num_prefix = 1 + num_registers
        self.side = pretrain_size // patch_size
        self.out_blocks = (*out_blocks, depth - 1)
        self.out_channels = (embed_dims,) * len(self.out_blocks)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dims))
        self.register_tokens = nn.Parameter(torch.zeros(1, num_registers, embed_dims))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 1 + self.side**2, embed_dims))
        self.patch_embed = nn.ModuleDict({'proj': nn.Conv2d(3, embed_dims, patch_size, patch_size)})
        self.blocks = nn.ModuleList(
            DINOBlock(
                embed_dims,
                num_heads,
                ImageAdapter(
                    embed_dims, adapter_width, text_channels, adapter_cross_width, adapter_heads, self.num_prefix
                )
                if block in adapter_blocks
                else None,
            )
            for block in range(depth)
        )
        self.norm = nn.LayerNorm(embed_dims, eps=1e-6)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_('adapter' in name)
        self.pretrained = pretrained

    def init_weights(self) -> None:
        """Load `pretrained`, where it is given; adapters stay as they are.

        Raises:
            FileNotFoundError: If the file is not there.
            CheckpointError: If the file cannot be read, or holds no DINOv2 with registers of this size.
        """
        super().init_weights()
        if self.pretrained is None:
            return
        weights = read_checkpoint(self.pretrained)
        weights.pop('mask_token', None)  # of DINOv2's own training
        adapters = {name: value for name, value in self.state_dict().items() if '.adapter.' in name}
        fix = 'give `pretrained` of the backbone a DINOv2 with registers of its size'
        load_checked(self, {**weights, **adapters}, self.pretrained, fix)

    def forward(self, inputs: Tensor, words: Tensor) -> list[Tensor]:
        """Run all blocks.

        Args:
            inputs: Images (B, 3, H, W), normalised; H and W are multiples of the patch.
            words: (B, L, D), pads included.

        Returns:
            The patches after `out_blocks`, and after the last block and its norm: three maps (B, C, h, w).

        Raises:
            ValueError: If the patch does not divide H and W.
        """
        if inputs.shape[2] % self.patch_size or inputs.shape[3] % self.patch_size:
            raise ValueError(f'AdaptedDINOv2: images of {tuple(inputs.shape[2:])}; give multiples of {self.patch_size}')
        patches = self.patch_embed['proj'](inputs)
        size = (patches.shape[2], patches.shape[3])
        batch = inputs.shape[0]
        tokens = torch.cat([self.cls_token.expand(batch, -1, -1), patches.flatten(2).transpose(1, 2)], dim=1)
        tokens = tokens + self._positions(size)
        registers = self.register_tokens.expand(batch, -1, -1)
        tokens = torch.cat([tokens[:, :1], registers, tokens[:, 1:]], dim=1)
        maps = []
        for index, block in enumerate(self.blocks):
            tokens = block(tokens, words, size)
            if index in self.out_blocks:
                given = self.norm(tokens) if index == len(self.blocks) - 1 else tokens
                maps.append(given[:, self.num_prefix :].transpose(1, 2).unflatten(2, size))
        return maps

    def _positions(self, size: tuple[int, int]) -> Tensor:
        """The position table for a size, (1, 1 + h * w, C).

        The scale factor is (h + 0.1) / side, taken literally, as DINOv2 does.
        """
        if size == (self.side, self.side):
            return self.pos_embed
        table = self.pos_embed[:, 1:].transpose(1, 2).unflatten(2, (self.side, self.side)).float()
        factor = [(length + 0.1) / self.side for length in size]
        table = F.interpolate(table, scale_factor=factor, mode='bicubic', align_corners=False)
        return torch.cat([self.pos_embed[:, :1], table.flatten(2).transpose(1, 2).to(self.pos_embed)], dim=1)
