"""Segment images by expressions, with a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from tqdm import tqdm

from mmmagnet.datasets.transforms.check_expression import check_expression
from mmmagnet.datasets.transforms.expression import SampleExpression, TokenizeExpression
from mmmagnet.model_converters import model_zoo
from mmmagnet.models.segmentors import ReferringSegmentor
from mmmagnet.registry import MODELS, TRANSFORMS
from mmmagnet.utils.checkpoint import build_mapped, checkpoint_config, inference_model, load_weights
from mmmagnet.utils.config import check_registered, dataset_configs, load_config
from mmmagnet.utils.device import usable_device
from mmmagnet.utils.errors import ConfigError, DataError
from mmmagnet.utils.images import ImageLike, image_files, is_folder, loaded_image, read_image
from mmmagnet.visualization import ReferringResult

MAX_PIXELS = 2**27  # of all masks of a batch; a pixel takes up to 20 bytes


class ReferringInferencer:
    """Segments what expressions refer to, with a trained model.

    No pretrained file is read and nothing stored in the checkpoint is run. What an image needs once is done once for
    all its expressions of a batch: reading, resizing, and the image encoder as far as it reads no text.

    Args:
        model: Checkpoint with its config inside, as training saves it; or the name of a model of `model_zoo`, which is
            downloaded once. With `checkpoint`: the model's config, a file, which is run, or a `Config`.
        checkpoint: Weights, as MMEngine saves them in training or as a plain state dict. Default: `model`.
        device: Default: an accelerator if there is one.
        batch_size: Expressions that are run at a time.

    Raises:
        FileNotFoundError: If a file is not there.
        CheckpointError: If the checkpoint cannot be read, stores no config, or is of another model than the config.
        ConfigError: If the config cannot be used.

    Example:
        >>> inferencer = ReferringInferencer('work_dirs/tiny/epoch_3.pth')
        >>> result = inferencer('image.png', 'the red circle')
        >>> result.mask.shape, result.box, result.score
        >>> left, right = inferencer('image.png', ['the left square', 'the right square'])
    """

    def __init__(
        self,
        model: str | Path | Config,
        checkpoint: str | Path | None = None,
        device: str | torch.device | None = None,
        batch_size: int = 16,
    ) -> None:
        named = checkpoint is None and model_zoo.is_model_name(model)
        if named:
            model, checkpoint = model_zoo.fetch(str(model))
        stored = checkpoint is None
        if checkpoint is None:
            if isinstance(model, Config):
                raise ConfigError('model is a config: give a checkpoint with it')
            settings, source, checkpoint = checkpoint_config(model), f'{model} (meta.cfg)', model
        elif isinstance(model, Config):
            settings, source = model, 'config'
        else:
            settings, source = load_config(model), str(model)
        if 'model' not in settings:
            raise ConfigError(f'{source}: has no `model`')
        network = inference_model(settings.model.to_dict(), checkpoint)
        pipeline = _inference_pipeline(settings, source)
        init_default_scope('mmseg')
        if stored:
            check_registered(network, MODELS, source)
            check_registered(pipeline, TRANSFORMS, source)
        self.device = usable_device(device)
        self.batch_size = batch_size
        self.pipeline = Compose(pipeline)
        steps = self.pipeline.transforms
        of_text = [step for step in steps if isinstance(step, (SampleExpression, TokenizeExpression))]
        first = steps.index(of_text[0]) if of_text else 0
        self._image_steps, self._expression_steps = steps[:first], steps[first:]
        self._tokenizers = [step for step in of_text if isinstance(step, TokenizeExpression)]
        if named:
            self.model: Any = build_mapped(network, checkpoint)
        else:
            self.model = MODELS.build(network)
            load_weights(self.model, checkpoint)
        self.model.to(self.device).eval()
        # a segmentor of one's own, and mmseg's padding at test, expect an image for each expression
        padding = getattr(self.model.data_preprocessor, 'test_cfg', None)
        self._share_images = isinstance(self.model, ReferringSegmentor) and not padding

    def __call__(
        self,
        inputs: ImageLike | Iterable[Any],
        text: str | Sequence[str] | None = None,
        return_datasamples: bool = False,
        show_progress: bool = True,
    ) -> Any:
        """Segment an image, or several.

        Args:
            inputs: An image (file, http(s) address, PIL image, or RGB array (H_0, W_0, 3) uint8), a folder, or a list
                or iterator of images; without `text`, of pairs (image, expression or list of expressions).
            text: An expression or a list of expressions for each image.
            return_datasamples: Whether to give mmseg's data samples instead of results.
            show_progress: Whether a terminal shows a bar for several images.

        Returns:
            For an image and an expression the result, for an image and a list a list of results. For several images a
            list of these, in their order. `stream` holds one batch in memory only.

        Raises:
            FileNotFoundError: If an image file is not there.
            DataError: If one is no image, is too large, or an expression is empty, over 10,000 characters long or no
                text.
        """
        given: Any = image_files(inputs) if is_folder(inputs) else inputs  # type: ignore[arg-type]
        several = isinstance(given, (list, tuple, Iterator))
        if text is None and (given is not inputs or not several):
            raise DataError('no expression is given: say what to segment')
        if text is not None:
            given = [(image, text) for image in (given if several else [given])]
        answers = list(self.stream(given, return_datasamples, several and show_progress))
        return answers if several else answers[0]

    def stream(
        self,
        requests: Iterable[tuple[ImageLike, str | Sequence[str]]],
        return_datasamples: bool = False,
        show_progress: bool = False,
        raise_errors: bool = True,
    ) -> Iterator[Any]:
        """Segment any number of images, in batches across images.

        Args:
            requests: Pairs of an image and an expression or a list of expressions. They are read as they are needed.
            return_datasamples: See a call.
            show_progress: Whether a terminal shows a bar.
            raise_errors: Whether an error ends it. Otherwise the error stands in the place of the result.

        Yields:
            For each pair, in order, the result, or the list of results.

        Raises:
            FileNotFoundError: See a call.
            DataError: See a call.
        """
        requests = tqdm(requests, unit='image', leave=False, disable=None if show_progress else True)
        answer: list[Any] = []
        for batch in self._batches(self._items(requests)):
            samples = iter(self._predict([item for item in batch if item.error is None]))
            for item in batch:
                if item.error is not None and raise_errors:
                    raise item.error
                if item.error is not None:
                    answer.append(item.error)
                else:
                    sample = next(samples)
                    answer.append(sample.cpu() if return_datasamples else _result_of(item, sample))
                if item.is_last:
                    yield answer[0] if item.is_single else answer
                    answer = []

    def _items(self, requests: Iterable[Any]) -> Iterator[_Item]:
        """The expressions of all requests, ready for the network, or with the error that each ends in."""
        for request in requests:
            if not isinstance(request, (list, tuple)) or len(request) != 2:
                wrong = DataError(f'{request!r:.80}: no pair of an image and an expression or a list of expressions')
                yield _Item('', True, True, error=wrong)
                continue
            image, text = request
            single = not isinstance(text, (list, tuple))
            texts = [text] if single else list(text) or ['']
            source = str(image) if isinstance(image, (str, Path)) else 'image'
            shared, failed, inputs = {}, None, None
            try:
                shared = self._read(image, source)
            except (DataError, OSError) as error:
                failed = error
            for index, expression in enumerate(texts):
                item = _Item(expression, single, index + 1 == len(texts), error=failed)
                try:
                    if failed is None:
                        for step in self._tokenizers:
                            check_expression(expression, step, f'{source}: expression {index + 1} of {len(texts)}')
                        packed = _apply(self._expression_steps, {**shared, 'sentences': [expression]})
                        inputs = packed['inputs'] if inputs is None else inputs
                        item.pixels, item.inputs, item.sample = shared['pixels'], inputs, packed['data_samples']
                except DataError as error:
                    item.error = error
                yield item

    def _read(self, image: ImageLike, source: str) -> dict[str, Any]:
        """What all expressions of an image share: its pixels, and what the pipeline makes of them."""
        pixels = read_image(image)
        return {**_apply(self._image_steps, loaded_image(pixels, source)), 'pixels': pixels}

    def _batches(self, items: Iterable[_Item]) -> Iterator[list[_Item]]:
        """Items that fit into one batch: not too many, not too many pixels, and of one input size."""
        batch: list[_Item] = []
        for item in items:
            if batch and not _fits(batch, item):
                yield batch
                batch = []
            batch.append(item)
            if len(batch) == self.batch_size:
                yield batch
                batch = []
        if batch:
            yield batch

    @torch.no_grad()
    def _predict(self, items: list[_Item]) -> list[Any]:
        """Data samples of a batch. Expressions of an image share its place in the batch."""
        if not items:
            return []
        images = {id(item.inputs): item.inputs for item in items}
        inputs, samples = [item.inputs for item in items], [item.sample for item in items]
        if self._share_images and len(images) < len(items):
            places = {image: place for place, image in enumerate(images)}
            for item in items:
                item.sample.image_index = torch.tensor(places[id(item.inputs)])
            inputs = list(images.values())
        return self.model.test_step({'inputs': inputs, 'data_samples': samples})


@dataclass
class _Item:
    """An expression of a request: ready for the network, or with the error that it ends in."""

    expression: str
    is_single: bool  # the request was an expression, not a list
    is_last: bool  # of the request
    pixels: Any = None  # (H_0, W_0, 3) uint8, shared by the expressions of an image
    inputs: Any = None  # tensor (3, H, W) of the pipeline, shared likewise
    sample: Any = None
    error: Exception | None = None


def _apply(steps: Iterable[Any], results: dict[str, Any]) -> Any:
    for step in steps:
        results = step(results)
    return results


def _fits(batch: Sequence[_Item], item: _Item) -> bool:
    """Whether an item can join a batch."""
    whole = [other for other in [*batch, item] if other.error is None]
    area = sum(other.pixels[..., 0].size for other in whole)
    return area <= MAX_PIXELS and len({other.inputs.shape for other in whole}) <= 1


def _inference_pipeline(config: Config, source: str) -> list[dict[str, Any]]:
    """The transforms of testing without those that read files of a dataset."""
    datasets = list(dataset_configs((config.get('test_dataloader') or {}).get('dataset')))
    pipeline = datasets[0].get('pipeline') if datasets else config.get('test_pipeline')
    if pipeline is None:
        raise ConfigError(f'{source}: has neither a `test_dataloader` nor a `test_pipeline`')
    reading = ('LoadImageFromFile', 'LoadReducedImage', 'LoadReferringMask')
    return [dict(step) for step in pipeline if str(step['type']).rpartition('.')[2] not in reading]


def _result_of(item: _Item, sample: Any) -> ReferringResult:
    mask = sample.pred_sem_seg.data[0].bool().cpu().numpy()
    box = None
    if mask.any():
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    score, target_score = (float(sample.get(name)) if name in sample else None for name in ('score', 'target_score'))
    return ReferringResult(item.expression, mask, box, score, target_score, item.pixels)
