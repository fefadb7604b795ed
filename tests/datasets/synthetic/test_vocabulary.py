from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from mmmagnet.datasets.synthetic import phrases
from mmmagnet.datasets.synthetic.level import COLOURS, SHAPES, SIZES, TEXTURES
from mmmagnet.utils import resolve_model_path

FOLDER = Path(resolve_model_path('package://mmmagnet/datasets/synthetic/tokenizer'))
SPECIAL_TOKENS = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']
MAX_LENGTH = 20  # of the whole text, [CLS] and [SEP] included


@pytest.fixture(scope='module')
def tokenizer():
    return AutoTokenizer.from_pretrained(str(FOLDER))


def grammar_words():
    """Every word that `phrase` can use, sorted."""
    texts = [*SHAPES, *COLOURS, *TEXTURES, *SIZES, *phrases.NO_SHAPE, *phrases.ORDINALS, *phrases.CARDINALS]
    texts += [word for words in phrases.SYNONYMS.values() for word in words]
    texts += [*phrases.ATTRIBUTE_TEMPLATES, *phrases.THAT_IS_TEMPLATES]
    texts += [*phrases.ORDER_TEMPLATES, *phrases.RELATION_TEMPLATES, *phrases.POSITION_TEMPLATES]
    for table in (phrases.POSITION_TEMPLATES, phrases.SUPERLATIVE_TEMPLATES, phrases.RELATION_WORDS):
        texts += [text for options in table.values() for text in options]
    return sorted({word for text in texts for word in text.split() if not word.startswith('{')})


def test_ids(tokenizer):
    tokens = (FOLDER / 'vocab.txt').read_text().splitlines()
    assert len(tokens) == len(set(tokens)) == len(tokenizer)
    assert tokens[:5] == SPECIAL_TOKENS == tokenizer.convert_ids_to_tokens(range(5))
    assert tokens[5 : 5 + len(grammar_words())] == grammar_words()
    assert tokenizer.convert_tokens_to_ids(tokens) == list(range(len(tokens)))
    special = (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.cls_token_id, tokenizer.sep_token_id)
    assert (*special, tokenizer.mask_token_id) == (0, 1, 2, 3, 4)


@pytest.mark.parametrize(
    ('text', 'pieces'),
    [
        ('The BIG red circle', ['the', 'big', 'red', 'circle']),
        ('reddish, cat!', ['red', '##d', '##i', '##s', '##h', ',', 'c', '##a', '##t', '!']),
        ('box 42', ['box', '4', '##2']),
        ('猫', ['[UNK]']),
    ],
)
def test_pieces(tokenizer, text, pieces):
    assert tokenizer.tokenize(text) == pieces
    ids = tokenizer(text)['input_ids']
    assert tokenizer.convert_ids_to_tokens(ids) == ['[CLS]', *pieces, '[SEP]']


def test_padding_and_truncation(tokenizer):
    coded = tokenizer('the red circle ' * 10, padding='max_length', truncation=True, max_length=MAX_LENGTH)
    assert len(coded['input_ids']) == MAX_LENGTH
    assert coded['input_ids'][-1] == tokenizer.sep_token_id
    coded = tokenizer('the red circle', padding='max_length', truncation=True, max_length=MAX_LENGTH)
    assert sum(coded['attention_mask']) == 5
    assert coded['input_ids'][5:] == [tokenizer.pad_token_id] * (MAX_LENGTH - 5)


def test_sentences_are_known_words_and_fit(folder, tokenizer):
    words = set(grammar_words())
    sentences = [sentence['raw'] for ref in folder.refs for sentence in ref['sentences']]
    for text, ids in zip(sentences, tokenizer(sentences)['input_ids'], strict=True):
        assert set(text.split()) <= words
        assert tokenizer.unk_token_id not in ids
        assert len(ids) == len(text.split()) + 2 <= MAX_LENGTH
