"""From sentences to token ids."""

from __future__ import annotations

import array
import functools
import os
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from mmmagnet.registry import TRANSFORMS
from mmmagnet.utils import resolve_model_path
from mmmagnet.utils.errors import DataError


@TRANSFORMS.register_module()
class SampleExpression(BaseTransform):
    """Choose one of a ref's sentences at random, each as likely; a test item has only one.

    Several of a training item share the image and, where no text reaches it, one run of the image encoder. They are
    drawn without replacement; a ref with fewer sentences repeats them in the same order. `ReferringPreProcessor` makes
    a data sample of each, so a batch of B images has B·K expressions.

    Required keys: ``sentences``, list of str; ``rng``, NumPy's generator, if there are several.
    Added key: ``expression``, str; a list of K where K > 1.

    Args:
        expressions_per_image: K.

    Raises:
        ValueError: If K < 1.

    Example:
        >>> results = dict(sentences=['left man', 'man in red'], rng=np.random.default_rng(0))
        >>> SampleExpression()(results)['expression']
        'man in red'
    """

    def __init__(self, expressions_per_image: int = 1) -> None:
        if expressions_per_image < 1:
            raise ValueError(f'SampleExpression: expressions_per_image={expressions_per_image} is below 1')
        self.expressions_per_image = expressions_per_image

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add the expression."""
        sentences = results['sentences']
        if self.expressions_per_image > 1:
            order = results['rng'].permutation(len(sentences))
            results['expression'] = [sentences[i] for i in np.resize(order, self.expressions_per_image)]
            return results
        index = 0 if len(sentences) == 1 else results['rng'].integers(len(sentences))
        results['expression'] = sentences[index]
        return results


@TRANSFORMS.register_module()
class TokenizeExpression(BaseTransform):
    """Turn the expression into token ids, with [CLS] and [SEP], cut and padded to L tokens.

    Longer expressions are cut after the special tokens are added, as in the published evaluations [O]:
    a cut expression keeps one word more and loses its [SEP].

    Required key: ``expression``, str or list of K.
    Added keys: ``input_ids`` (L,) int64; ``word_mask`` (L,) int64, 1 for real words, [CLS] and [SEP] included. Both
    are (K, L) of a list.

    Args:
        tokenizer: Name or folder of a tokenizer, or ``package://module/folder``. Read at the first expression, once in
            each process.
        max_length: L.
        keep_end: Whether a cut expression keeps its end token in the last place, as CRIS's do [O].
        pad_token_id: Id of the pads. Default: the tokenizer's.

    Raises:
        DataError: If the expression is empty or the tokenizer cannot be loaded.

    Example:
        >>> step = TokenizeExpression('package://mmmagnet/datasets/synthetic/tokenizer', max_length=6)
        >>> step(dict(expression='the red circle'))['word_mask']
        array([1, 1, 1, 1, 1, 0])
    """

    def __init__(
        self, tokenizer: str, max_length: int = 20, keep_end: bool = False, pad_token_id: int | None = None
    ) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.keep_end = keep_end
        self.pad_token_id = pad_token_id

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add the tokens."""
        if isinstance(expressions := results['expression'], list):
            each = [self.transform({**results, 'expression': expression}) for expression in expressions]
            return {**results, **{key: np.stack([one[key] for one in each]) for key in ('input_ids', 'word_mask')}}
        expression = expressions.strip()
        if not expression:
            raise DataError(
                f'ref {results.get("ref_id")} of {results.get("img_path")}: the expression is empty; remove it'
            )
        tokens = tokenize(self.tokenizer, expression)
        words = tokens[: self.max_length]
        if self.keep_end:
            words[-1] = tokens[-1]
        pad = load_tokenizer(self.tokenizer).pad_token_id if self.pad_token_id is None else self.pad_token_id
        input_ids = np.full(self.max_length, pad, np.int64)
        input_ids[: len(words)] = words
        results['input_ids'] = input_ids
        results['word_mask'] = (np.arange(self.max_length) < len(words)).astype(np.int64)
        return results


@functools.lru_cache(maxsize=1 << 17)  # as many as RefCOCO's expressions of train; 0.4 KB each
def tokenize(tokenizer: str, expression: str) -> array.array[int]:
    """Token ids of an expression with [CLS] and [SEP], kept for the next epoch."""
    return array.array('i', load_tokenizer(tokenizer)(expression, verbose=False)['input_ids'])


@functools.lru_cache(maxsize=4)
def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer called `name`, read once in each process.

    Raises:
        DataError: If it cannot be loaded, or pads with no token.
    """
    # one sentence at a time gains nothing from threads, and forked workers would each warn of them
    os.environ.setdefault('TOKENIZERS_PARALLELISM', 'false')
    path = resolve_model_path(name)
    try:
        try:  # what was downloaded before needs no network
            tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False, local_files_only=True)
        except (OSError, ValueError):
            tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise DataError(
            f'tokenizer={name!r}: {str(error).splitlines()[0]}; give the folder of a downloaded tokenizer'
        ) from error
    if tokenizer.pad_token_id is None:
        raise DataError(f'tokenizer={name!r}: has no padding token; give one of the BERT family')
    return tokenizer
