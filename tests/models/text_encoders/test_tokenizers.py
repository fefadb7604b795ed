"""Expressions to masked words by RoBERTa's and CLIP's tokenizers: other ids, special tokens where BERT's are."""

import json

import pytest
import torch

from mmmagnet.datasets.transforms import TokenizeExpression
from mmmagnet.models.aux_heads import MaskGroundingHead


def write_tokenizer(folder, kind, tokens, **special):
    (folder / 'vocab.json').write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
    (folder / 'merges.txt').write_text('#version: 0.2\n')
    (folder / 'tokenizer_config.json').write_text(json.dumps({'tokenizer_class': f'{kind}Tokenizer', **special}))


def roberta(folder):
    write_tokenizer(folder, 'Roberta', ['<s>', '<pad>', '</s>', '<unk>', 'Ġ', *'abcdef', '<mask>'])
    return dict(first=0, pad=1, last=2, mask=11)


def clip(folder):
    tokens = [*'abcdef', *(f'{letter}</w>' for letter in 'abcdef'), '<|startoftext|>', '<|endoftext|>']
    names = dict(bos_token=tokens[12], eos_token=tokens[13], unk_token=tokens[13], pad_token=tokens[13])
    write_tokenizer(folder, 'CLIP', tokens, **names)
    return dict(first=12, pad=13, last=13, mask=14)  # pads are ends of text, told apart by the mask


@pytest.mark.parametrize('kind', [roberta, clip])
@pytest.mark.parametrize(('expression', 'real'), [('a b', None), ('a b c d e f a b c d e f', 10)])
def test_what_is_masked(kind, expression, real, tmp_path):
    ids = kind(tmp_path)
    results = TokenizeExpression(str(tmp_path), max_length=10).transform({'expression': expression})
    input_ids, word_mask = (torch.from_numpy(results[name])[None] for name in ('input_ids', 'word_mask'))
    length = int(word_mask.sum())
    assert word_mask[0].tolist() == [1] * length + [0] * (10 - length)
    assert input_ids[0, 0] == ids['first']
    assert input_ids[0, length:].eq(ids['pad']).all()
    if real is None:
        assert input_ids[0, length - 1] == ids['last']
    else:
        assert length == real
    head = MaskGroundingHead(8, 8, 15, ids['mask'], mask_prob=1.0, unmasked_prob=0.0)
    masked = head.mask_words(input_ids, word_mask)
    expected = input_ids.clone()
    expected[0, 1 : length - 1] = ids['mask']
    assert masked.input_ids.equal(expected)


def test_head_without_a_known_mask():
    with pytest.raises(ValueError, match=r'no known \[MASK\]; set mask_token_id of text_encoder'):
        MaskGroundingHead(8, 8, 15, None)
