"""What every neck between two encoders has in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Sequence

from mmengine.model import BaseModule
from torch import Tensor


class FusionNeck(BaseModule):
    """Base class of the fusion modules between an image encoder and a text encoder. A subclass writes `fuse`.

    Args:
        out_channels: Channels C_i of the decoder features, one of each stage.
        init_cfg: MMEngine initialisation config.

    Attributes:
        reads_padding: Whether results depend on padded words; batches then keep them.

    Example:
        >>> @MODELS.register_module()
        ... class NoFusion(FusionNeck):
        ...     def __init__(self, image_channels, init_cfg=None):
        ...         super().__init__(image_channels, init_cfg)
        ...
        ...     def fuse(self, stage, image, words, word_mask):
        ...         return image.permute(0, 3, 1, 2), image, words
    """

    reads_padding = False

    def __init__(self, out_channels: Sequence[int], init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.out_channels = tuple(out_channels)

    @abstractmethod
    def fuse(self, stage: int, image: Tensor, words: Tensor, word_mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Exchange information between the encoders after a stage.

        Args:
            stage: 0..3.
            image: V_i as a map, (B, H_i, W_i, C_i).
            words: T_i, (B, L, D).
            word_mask: m, (B, L), 1 = real word.

        Returns:
            The decoder feature (B, C_i, H_i, W_i), the map that goes on to downsampling (B, H_i, W_i, C_i), and the
            words that go on to the next text stage (B, L, D).
        """

    def freeze_unread(self, maps: Collection[int], image: bool, words: bool) -> None:
        """Freeze the weights whose results no head reads; none by default.

        Args:
            maps: Indices of the decoder features that heads read.
            image: Whether a head reads the image map after the last fusion.
            words: Whether a head reads the words after the last fusion.
        """
