"""Segment an image by an expression, with a checkpoint."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from PIL import Image, ImageOps, UnidentifiedImageError

from mmmagnet.datasets.transforms.expression import TokenizeExpression, load_tokenizer
from mmmagnet.model_converters import model_zoo
from mmmagnet.registry import MODELS, TRANSFORMS
from mmmagnet.utils.checkpoint import build_mapped, checkpoint_config, inference_model, load_weights
from mmmagnet.utils.config import check_registered, dataset_configs, load_config
from mmmagnet.utils.errors import ConfigError, DataError
from mmmagnet.visualization import draw_panels

ImageLike = str | Path | np.ndarray | Image.Image


@dataclass(frozen=True)
class ReferringResult:
    """What an expression refers to in an image of H_0 x W_0 pixels.

    Attributes:
        expression: As it was given.
        mask: (H_0, W_0) bool, True = referred.
        box: The mask's (x_0, y_0, x_1, y_1) in pixels, x_1 and y_1 exclusive; None where it is empty.
        score: Mean foreground probability inside the mask, 0 to 1; 0 where the mask is empty. None of a model that
            gives none.
        target_score: Probability that the image has what is meant, 0 to 1; the mask is empty where it is below the
            model's threshold. None of a model that takes it for granted.

    Example:
        >>> result = ReferringResult('the cat', np.ones((2, 2), bool), (0, 0, 2, 2), score=0.875)
        >>> result.area_fraction, result.summary
        (1.0, '100.0 % of the pixels, score 0.88')
    """

    expression: str
    mask: np.ndarray
    box: tuple[int, int, int, int] | None
    score: float | None = None
    target_score: float | None = None

    @property
    def area_fraction(self) -> float:
        """Fraction of the image's pixels that the mask covers, 0 to 1."""
        return float(self.mask.mean())

    @property
    def summary(self) -> str:
        """Area and scores in words."""
        scores = (('score', self.score), ('target', self.target_score))
        known = [f'{name} {value:.2f}' for name, value in scores if value is not None]
        return ', '.join([f'{100 * self.area_fraction:.1f} % of the pixels', *known])


class ReferringInferencer:
    """Segments what expressions refer to, with a trained model.

    No pretrained file is read and nothing stored in the checkpoint is run.

    Args:
        checkpoint: Weights, as MMEngine saves them in training or as a plain state dict; or the name of a model of
            `mmmagnet.model_converters.model_zoo`, which is downloaded once.
        config: The model's config (file, which is run, or `Config`). Default: the one stored in the checkpoint.
        device: Default: an accelerator if there is one.
        batch_size: Expressions that are run at a time.

    Raises:
        FileNotFoundError: If a file is not there.
        CheckpointError: If the checkpoint cannot be read, stores no config, or is of another model than `config`.
        ConfigError: If the config cannot be used.

    Example:
        >>> inferencer = ReferringInferencer('work_dirs/tiny/epoch_3.pth')
        >>> first, second = inferencer('image.png', ['the red circle', 'the square on the left'])
        >>> first.mask.shape, first.box, first.score
    """

    def __init__(
        self,
        checkpoint: str | Path,
        config: str | Path | Config | None = None,
        device: str | torch.device | None = None,
        batch_size: int = 8,
    ) -> None:
        named = model_zoo.is_model_name(checkpoint)
        if named:
            known, checkpoint = model_zoo.fetch(str(checkpoint))
            config = config or known
        stored = config is None
        if config is None:
            settings, source = checkpoint_config(checkpoint), f'{checkpoint} (meta.cfg)'
        elif isinstance(config, Config):
            settings, source = config, 'config'
        else:
            settings, source = load_config(config), str(config)
        if 'model' not in settings:
            raise ConfigError(f'{source}: has no `model`')
        model = inference_model(settings.model.to_dict(), checkpoint)
        pipeline = _inference_pipeline(settings, source)
        init_default_scope('mmseg')
        if stored:
            check_registered(model, MODELS, source)
            check_registered(pipeline, TRANSFORMS, source)
        self.device = _device_of(device)
        self.batch_size = batch_size
        self.pipeline = Compose(pipeline)
        if named:
            self.model: Any = build_mapped(model, checkpoint)
        else:
            self.model = MODELS.build(model)
            load_weights(self.model, checkpoint)
        self.model.to(self.device).eval()

    @torch.no_grad()
    def __call__(self, image: ImageLike, text: str | Sequence[str]) -> list[ReferringResult]:
        """Segment an image.

        Args:
            image: File, PIL image, or RGB array (H_0, W_0, 3) uint8. Files and PIL images are turned upright by their
                EXIF orientation, and so are the masks.
            text: An expression or several.

        Returns:
            One result for each expression.

        Raises:
            FileNotFoundError: If the image file is not there.
            DataError: If it is no image, or an expression is empty.
        """
        pixels = read_image(image)
        texts = [text] if isinstance(text, str) else list(text)
        for index, expression in enumerate(texts):
            if not isinstance(expression, str) or not expression.strip():
                raise DataError(f'expression {index + 1} of {len(texts)} is empty: say what to segment')
            self._warn_if_truncated(expression)
        results = []
        for start in range(0, len(texts), self.batch_size):
            results += self._segment(pixels, texts[start : start + self.batch_size])
        return results

    def draw(self, image: ImageLike, result: ReferringResult) -> np.ndarray:
        """The image beside the mask laid over it, RGB uint8."""
        return draw_panels(read_image(image), result.expression, pred_mask=result.mask, note=result.summary)

    def save(
        self, image: ImageLike, results: Sequence[ReferringResult], out_dir: str | Path, stem: str | None = None
    ) -> list[tuple[Path, Path]]:
        """Write each result's overlay and mask as PNG.

        Args:
            image: As for a call.
            results: Of that image.
            out_dir: Folder, made where it is missing.
            stem: First part of the names. Default: the image file's.

        Returns:
            For each result the overlay and the mask file (255 = referred).
        """
        out = Path(out_dir)
        out.mkdir(parents=True, exist_ok=True)
        stem = stem or (Path(image).stem if isinstance(image, (str, Path)) else 'image')
        written = []
        for index, result in enumerate(results):
            slug = re.sub(r'[^a-z0-9]+', '_', result.expression.lower()).strip('_')[:40]
            name = '_'.join(part for part in (stem, str(index), slug) if part)
            overlay, mask = out / f'{name}_overlay.png', out / f'{name}_mask.png'
            Image.fromarray(self.draw(image, result)).save(overlay)
            Image.fromarray(result.mask.astype(np.uint8) * 255).save(mask)
            written.append((overlay, mask))
        return written

    def _segment(self, pixels: np.ndarray, texts: Sequence[str]) -> list[ReferringResult]:
        size = pixels.shape[:2]
        packed = [
            self.pipeline(
                {
                    'img': np.ascontiguousarray(pixels[..., ::-1]),  # BGR, as mmcv loads files
                    'img_path': '',
                    'img_shape': size,
                    'ori_shape': size,
                    'height': size[0],
                    'width': size[1],
                    'sentences': [text],
                    'draw': (0, 0, index),
                    'sample_idx': index,
                }
            )
            for index, text in enumerate(texts)
        ]
        batch = {name: [item[name] for item in packed] for name in ('inputs', 'data_samples')}
        samples = self.model.test_step(batch)
        return [_result_of(text, sample) for text, sample in zip(texts, samples, strict=True)]

    def _warn_if_truncated(self, expression: str) -> None:
        for transform in self.pipeline.transforms:
            if isinstance(transform, TokenizeExpression):
                count = len(load_tokenizer(transform.tokenizer)(expression, verbose=False)['input_ids'])
                if count > transform.max_length:
                    warnings.warn(
                        f'expression of {count} tokens is truncated to {transform.max_length}: {expression!r}',
                        stacklevel=3,
                    )


def read_image(image: ImageLike) -> np.ndarray:
    """An image as RGB (H_0, W_0, 3) uint8.

    Raises:
        FileNotFoundError: If the file is not there.
        DataError: If it is no image.
    """
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise DataError(f'image array {image.shape} {image.dtype}: give RGB (height, width, 3) of uint8')
        return image
    if isinstance(image, Image.Image):
        return _rgb(image, 'image')
    path = Path(image)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such image file')
    try:
        with Image.open(path) as opened:
            return _rgb(opened, str(path))
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(f'{path}: too large ({error}); give a smaller copy of the image') from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise DataError(f'{path}: not a whole image ({error}); give a PNG, JPEG or another image file') from error


def _rgb(image: Image.Image, source: str) -> np.ndarray:
    if image.mode[0] in 'IF':  # PIL would clip them at 255
        raise DataError(f'{source}: has more than 8 bits a pixel (mode {image.mode}); convert it to 8 bits')
    return np.asarray(ImageOps.exif_transpose(image).convert('RGB'))


def _device_of(device: str | torch.device | None) -> torch.device:
    try:
        found = torch.device(device or get_device())
    except RuntimeError as error:
        raise ConfigError(f'device {device!r}: PyTorch knows no such device; give cpu or cuda') from error
    if found.type == 'cuda' and not torch.cuda.is_available():
        raise ConfigError(f'device {str(device)!r}: PyTorch sees no GPU here; give cpu')
    try:
        torch.zeros(1, device=found).item()
    except Exception as error:  # whatever a backend that is not there raises
        raise ConfigError(f'device {str(device)!r}: cannot be used here; give cpu or cuda') from error
    return found


def _inference_pipeline(config: Config, source: str) -> list[dict[str, Any]]:
    """The transforms of testing without those that read files of a dataset."""
    datasets = list(dataset_configs((config.get('test_dataloader') or {}).get('dataset')))
    pipeline = datasets[0].get('pipeline') if datasets else config.get('test_pipeline')
    if pipeline is None:
        raise ConfigError(f'{source}: has neither a `test_dataloader` nor a `test_pipeline`')
    reading = ('LoadImageFromFile', 'LoadReducedImage', 'LoadReferringMask')
    return [dict(step) for step in pipeline if str(step['type']).rpartition('.')[2] not in reading]


def _result_of(text: str, sample: Any) -> ReferringResult:
    mask = sample.pred_sem_seg.data[0].bool().cpu().numpy()
    box = None
    if mask.any():
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    score, target_score = (float(sample.get(name)) if name in sample else None for name in ('score', 'target_score'))
    return ReferringResult(text, mask, box, score, target_score)
