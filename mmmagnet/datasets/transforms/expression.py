"""From sentences to token ids."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from mmmagnet.registry import TRANSFORMS
from mmmagnet.utils import DataError, resolve_model_path


@TRANSFORMS.register_module()
class SampleExpression(BaseTransform):
    """Draw one sentence of a ref, by ``draw`` = (seed, epoch, item) alone.

    Required keys: ``sentences``, ``draw``. Added key: ``expression``.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add the expression."""
        sentences = results['sentences']
        index = 0 if len(sentences) == 1 else np.random.default_rng(results['draw']).integers(len(sentences))
        results['expression'] = sentences[index]
        return results


@TRANSFORMS.register_module()
class TokenizeExpression(BaseTransform):
    """Turn the expression into token ids, with [CLS] and [SEP], cut and padded to one length.

    Required key: ``expression``. Added keys: ``input_ids`` and ``word_mask``, each (L,) int64; 1 in the mask is a real
    word, [CLS] and [SEP] included.

    Args:
        tokenizer: Name or folder of a tokenizer, or ``package://module/folder``. Read at the first expression.
        max_length: L; what is longer is cut after the special tokens are added.

    Raises:
        DataError: If the expression is empty or the tokenizer is not to be had.
    """

    def __init__(self, tokenizer: str, max_length: int = 20) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add the tokens."""
        expression = results['expression'].strip()
        if not expression:
            raise DataError(
                f'ref {results.get("ref_id")} of {results.get("img_path")}: the expression is empty; remove it'
            )
        encoded = load_tokenizer(self.tokenizer)(
            expression, padding='max_length', truncation=True, max_length=self.max_length
        )
        results['input_ids'] = np.asarray(encoded['input_ids'], np.int64)
        results['word_mask'] = np.asarray(encoded['attention_mask'], np.int64)
        return results


@functools.lru_cache(maxsize=4)
def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer called `name`, read once in each process.

    Raises:
        DataError: If it is not to be had.
    """
    try:
        return AutoTokenizer.from_pretrained(resolve_model_path(name))
    except (OSError, ValueError) as error:
        raise DataError(
            f'tokenizer={name!r}: {str(error).splitlines()[0]}; give the folder of a downloaded tokenizer'
        ) from error
