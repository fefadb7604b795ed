"""The WordPiece tokenizer of the synthetic sets, made from the grammar's words alone."""

from __future__ import annotations

import json
import string
from pathlib import Path

from .phrases import grammar_words

SPECIAL_TOKENS = ('[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]')
TOKENIZER_FOLDER = Path(__file__).parent / 'tokenizer'
"""The committed folder, package data: equal to what :func:`write_tokenizer` writes."""


def tokenizer_vocabulary() -> list[str]:
    """Tokens in id order: special tokens, the grammar's words, then letters, digits and punctuation.

    The letters, with and without '##', spell words the grammar does not know, so that these do not all become [UNK].
    """
    words = grammar_words()
    signs = [*string.ascii_lowercase, *string.digits]
    pieces = [sign for sign in signs if sign not in words] + [f'##{sign}' for sign in signs]
    return [*SPECIAL_TOKENS, *words, *pieces, *".,;:!?'-()/&"]


def write_tokenizer(folder: Path) -> None:
    """Write a folder that ``transformers.AutoTokenizer.from_pretrained`` loads (transformers 4 and 5).

    BERT's rules: lower-cased, split at blanks and punctuation, longest piece first, '[CLS] words [SEP]'.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tokens = tokenizer_vocabulary()
    ids = {token: i for i, token in enumerate(tokens)}
    named = dict(zip(('pad_token', 'unk_token', 'cls_token', 'sep_token', 'mask_token'), SPECIAL_TOKENS, strict=True))

    def special(token: str) -> dict[str, object]:
        flags = {'single_word': False, 'lstrip': False, 'rstrip': False, 'normalized': False, 'special': True}
        return {'content': token, **flags}

    def piece(kind: str, name: str, type_id: int) -> dict[str, object]:
        return {kind: {'id': name, 'type_id': type_id}}

    first = [piece('SpecialToken', '[CLS]', 0), piece('Sequence', 'A', 0), piece('SpecialToken', '[SEP]', 0)]
    second = [piece('Sequence', 'B', 1), piece('SpecialToken', '[SEP]', 1)]
    fast = {
        'version': '1.0',
        'truncation': None,
        'padding': None,
        'added_tokens': [{'id': ids[token], **special(token)} for token in SPECIAL_TOKENS],
        'normalizer': {
            'type': 'BertNormalizer',
            'clean_text': True,
            'handle_chinese_chars': True,
            'strip_accents': None,
            'lowercase': True,
        },
        'pre_tokenizer': {'type': 'BertPreTokenizer'},
        'post_processor': {
            'type': 'TemplateProcessing',
            'single': first,
            'pair': first + second,
            'special_tokens': {t: {'id': t, 'ids': [ids[t]], 'tokens': [t]} for t in ('[CLS]', '[SEP]')},
        },
        'decoder': {'type': 'WordPiece', 'prefix': '##', 'cleanup': True},
        'model': {
            'type': 'WordPiece',
            'unk_token': '[UNK]',
            'continuing_subword_prefix': '##',
            'max_input_chars_per_word': 100,
            'vocab': ids,
        },
    }
    config = {
        'added_tokens_decoder': {str(ids[token]): special(token) for token in SPECIAL_TOKENS},
        'clean_up_tokenization_spaces': False,
        'do_lower_case': True,
        'model_max_length': 512,
        'strip_accents': None,
        'tokenize_chinese_chars': True,
        'tokenizer_class': 'BertTokenizer',
        **named,
    }
    (folder / 'vocab.txt').write_text('\n'.join(tokens) + '\n', encoding='utf-8')
    for name, content in (
        ('tokenizer.json', fast),
        ('tokenizer_config.json', config),
        ('special_tokens_map.json', named),
    ):
        (folder / name).write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')
