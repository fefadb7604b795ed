"""Wording of expressions: synonyms and templates. The words are those of the folder ``tokenizer``."""

from __future__ import annotations

import numpy as np

from .grammar import Expression, Noun, Order, Position

SYNONYMS: dict[str, tuple[str, ...]] = {
    'circle': ('circle', 'circle', 'disc'),
    'square': ('square', 'square', 'box'),
    'cross': ('cross', 'cross', 'plus'),
    'ring': ('ring', 'ring', 'hoop'),
    'purple': ('purple', 'purple', 'violet'),
    'big': ('big', 'big', 'large'),
    'small': ('small', 'small', 'little'),
    'plain': ('plain', 'plain', 'solid'),
    'striped': ('striped', 'striped', 'stripy'),
    'dotted': ('dotted', 'dotted', 'spotted'),
}
"""Synonyms by word, each as likely; a word listed twice is twice as likely. Other words have none."""

NO_SHAPE = ('thing', 'object', 'one')
ORDINALS = ('first', 'second', 'third', 'fourth')
CARDINALS = ('one', 'two', 'three', 'four')

ATTRIBUTE_TEMPLATES = ('the {np}', 'the {np}', '{np}', '{np}')
THAT_IS_TEMPLATES = ('the {head} that is {adjective}', '{head} that is {adjective}')

POSITION_TEMPLATES: dict[str, tuple[str, ...]] = {
    side: (
        f'the {side} {{np}}',
        f'{side} {{np}}',
        f'the {{np}} on the {side}',
        f'{{np}} on the {side}',
        f'the {{np}} on the {side} side',
    )
    for side in ('left', 'right')
}
POSITION_TEMPLATES['top'] = ('the top {np}', 'top {np}', 'the upper {np}', 'the {np} at the top', '{np} at the top')
POSITION_TEMPLATES['bottom'] = (
    'the bottom {np}',
    'bottom {np}',
    'the lower {np}',
    'the {np} at the bottom',
    '{np} at the bottom',
)

SUPERLATIVE_TEMPLATES: dict[str, tuple[str, ...]] = {
    'left': ('the leftmost {np}', 'leftmost {np}', 'the {np} furthest to the left'),
    'right': ('the rightmost {np}', 'rightmost {np}', 'the {np} furthest to the right'),
    'top': ('the topmost {np}', 'topmost {np}', 'the highest {np}'),
    'bottom': ('the bottommost {np}', 'bottommost {np}', 'the lowest {np}'),
}

ORDER_TEMPLATES = (
    'the {ordinal} {np} from the {side}',
    '{ordinal} {np} from the {side}',
    'the {ordinal} {np} counting from the {side}',
    '{np} number {cardinal} from the {side}',
)

RELATION_WORDS: dict[str, tuple[str, ...]] = {
    'left': ('left of', 'to the left of', 'on the left of'),
    'right': ('right of', 'to the right of', 'on the right of'),
    'top': ('above', 'over'),
    'bottom': ('below', 'under'),
    'near': ('next to', 'beside', 'near'),
}
RELATION_TEMPLATES = ('the {np} {relation} the {anchor}', '{np} {relation} the {anchor}')


def _choose(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))] if len(options) > 1 else options[0]


def _word(rng: np.random.Generator, word: str) -> str:
    return _choose(rng, SYNONYMS.get(word, (word,)))


def _noun_phrase(rng: np.random.Generator, noun: Noun) -> str:
    """Size, texture, colour, shape, in this order: 'big striped red circle', 'red thing'."""
    words = [_word(rng, word) for word in (noun.size, noun.texture, noun.colour) if word is not None]
    words.append(_word(rng, noun.shape) if noun.shape is not None else _choose(rng, NO_SHAPE))
    return ' '.join(words)


def phrase(rng: np.random.Generator, spec: Expression) -> str:
    """Put an expression into words, at random among its paraphrases.

    Example:
        >>> phrase(np.random.default_rng(0), Position(Noun(shape='circle'), 'left'))
        'disc on the left'
    """
    if isinstance(spec, Noun):
        adjective = spec.colour or spec.texture or spec.size
        if adjective is None or rng.random() < 0.75:
            return _choose(rng, ATTRIBUTE_TEMPLATES).format(np=_noun_phrase(rng, spec))
        kept = {'size': spec.size, 'texture': spec.texture, 'colour': spec.colour}
        kept = {name: word for name, word in kept.items() if word != adjective}
        head = _noun_phrase(rng, Noun(shape=spec.shape, **kept))
        return _choose(rng, THAT_IS_TEMPLATES).format(head=head, adjective=_word(rng, adjective))
    noun = _noun_phrase(rng, spec.noun)
    if isinstance(spec, Position):
        templates = SUPERLATIVE_TEMPLATES if spec.superlative else POSITION_TEMPLATES
        return _choose(rng, templates[spec.direction]).format(np=noun)
    if isinstance(spec, Order):
        ordinal, cardinal = ORDINALS[spec.rank - 1], CARDINALS[spec.rank - 1]
        return _choose(rng, ORDER_TEMPLATES).format(np=noun, ordinal=ordinal, cardinal=cardinal, side=spec.direction)
    relation = _choose(rng, RELATION_WORDS[spec.relation])
    return _choose(rng, RELATION_TEMPLATES).format(np=noun, relation=relation, anchor=_noun_phrase(rng, spec.anchor))
