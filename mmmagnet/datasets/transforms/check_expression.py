"""What people type, checked before a network reads it."""

from __future__ import annotations

import warnings
from typing import Any

from mmmagnet.utils.errors import DataError

from .expression import TokenizeExpression, load_tokenizer

MAX_CHARACTERS = 10_000


def check_expression(expression: Any, step: TokenizeExpression, source: str) -> None:
    """Refuse what is no expression. Warn where it is truncated, or has words that the model does not know.

    Args:
        expression: As somebody gave it; anything.
        step: What will tokenise it.
        source: Beginning of the message: which expression of which image.

    Raises:
        DataError: If it is no text, is empty, or has over 10,000 characters.

    Example:
        >>> step = TokenizeExpression('package://mmmagnet/datasets/synthetic/tokenizer')
        >>> check_expression('the red circle', step, 'a.png: expression 1 of 1')
    """
    if not isinstance(expression, str):
        raise DataError(f'{source} is of type {type(expression).__name__}: give text')
    if not expression.strip():
        raise DataError(f'{source} is empty: say what to segment')
    if len(expression) > MAX_CHARACTERS:
        raise DataError(f'{source} has {len(expression)} characters: give {MAX_CHARACTERS} or fewer')
    if expression.encode(errors='replace').decode() != expression:  # half of a surrogate pair
        raise DataError(f'{source} is no valid text: {expression!r:.80}')
    tokenizer = load_tokenizer(step.tokenizer)
    words = tokenizer(expression, add_special_tokens=False, verbose=False)['input_ids']
    if not words:
        raise DataError(f'{source} is empty: {expression!r:.80} has no letters')
    count = len(words) + tokenizer.num_special_tokens_to_add()
    if count > step.max_length:
        warnings.warn(f'{source} has {count} tokens and is truncated to {step.max_length}', stacklevel=2)
    if unknown := [word for word in expression.split()[: step.max_length] if _is_unknown(word, tokenizer)]:
        warnings.warn(f'{source} has words that the model does not know: {" ".join(unknown):.80}', stacklevel=2)


def _is_unknown(word: str, tokenizer: Any) -> bool:
    """Whether a word is unknown to the vocabulary, or is spelled there letter by letter."""
    pieces = tokenizer.tokenize(word)
    letters = [piece.removeprefix('##').removesuffix('</w>') for piece in pieces]
    spelled = word.isascii() and len(letters) > 2 and max(map(len, letters)) == 1 and ''.join(letters).isalpha()
    return spelled or tokenizer.unk_token in pieces
