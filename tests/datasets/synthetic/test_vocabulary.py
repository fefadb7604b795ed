from __future__ import annotations

import pytest
from transformers import AutoTokenizer

from mmmagnet.datasets.synthetic import TOKENIZER_FOLDER, write_tokenizer
from mmmagnet.datasets.synthetic.phrases import grammar_words
from mmmagnet.datasets.synthetic.vocabulary import SPECIAL_TOKENS, tokenizer_vocabulary

MAX_LENGTH = 20  # of the whole text, [CLS] and [SEP] included


@pytest.fixture(scope='module')
def tokenizer():
    return AutoTokenizer.from_pretrained(str(TOKENIZER_FOLDER))


def test_committed_folder_is_what_the_grammar_gives(tmp_path):
    write_tokenizer(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == sorted(path.name for path in TOKENIZER_FOLDER.iterdir())
    assert names == ['special_tokens_map.json', 'tokenizer.json', 'tokenizer_config.json', 'vocab.txt']
    for name in names:
        assert (tmp_path / name).read_bytes() == (TOKENIZER_FOLDER / name).read_bytes(), name


def test_ids(tokenizer):
    tokens = tokenizer_vocabulary()
    assert len(tokens) == len(set(tokens)) == len(tokenizer)
    assert tokens[:5] == list(SPECIAL_TOKENS) == tokenizer.convert_ids_to_tokens(range(5))
    assert tokens[5 : 5 + len(grammar_words())] == grammar_words()
    assert len(grammar_words()) <= 120
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
