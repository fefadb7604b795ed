"""Staged BERT: stage by stage the same as transformers' model, from keywords or a folder."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, BertConfig, BertModel

from mmmagnet.models.text_encoders import StagedBert
from mmmagnet.utils.errors import CheckpointError

SIZES = dict(
    vocab_size=20,
    hidden_size=12,
    num_hidden_layers=4,
    num_attention_heads=2,
    intermediate_size=16,
    max_position_embeddings=16,
)
IDS = torch.tensor([[2, 7, 8, 9, 3], [2, 11, 3, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])


def settings(**changed):
    return {'model_type': 'bert', **SIZES, **changed}


def staged(encoder, ids=IDS, mask=MASK):
    words = encoder.stem(ids, mask)
    outputs = []
    for stage in range(encoder.num_stages):
        words = encoder.forward_stage(stage, words, mask)
        outputs.append(words)
    return outputs


@pytest.fixture
def folder(tmp_path):
    """A saved BERT, pooler included, and its model."""
    torch.manual_seed(5)
    model = BertModel(BertConfig(**SIZES)).eval()
    model.save_pretrained(tmp_path / 'bert')
    return str(tmp_path / 'bert'), model


@pytest.mark.parametrize(
    ('changed', 'stage_ends'),
    [
        ({}, (1, 2, 3, 4)),
        (dict(hidden_size=8, num_attention_heads=4, intermediate_size=8), (1, 3, 4)),
        (dict(hidden_act='relu', layer_norm_eps=1e-5), (2, 4)),
        ({}, (4, 4, 4)),
    ],
)
def test_same_as_transformers(changed, stage_ends):
    encoder = StagedBert(settings(**changed), stage_ends).eval()
    model = BertModel(BertConfig(**{**SIZES, **changed}), add_pooling_layer=False).eval()
    weights = {name.replace('layers.', 'encoder.layer.', 1): value for name, value in encoder.state_dict().items()}
    model.load_state_dict(weights)
    with torch.no_grad():
        expected = model(IDS, attention_mask=MASK, output_hidden_states=True).hidden_states
        outputs = staged(encoder)
    real = MASK.bool()
    for end, output in zip(stage_ends, outputs, strict=True):
        torch.testing.assert_close(output[real], expected[end][real])
    assert encoder.out_channels == outputs[0].shape[2]
    assert (encoder.vocab_size, encoder.num_stages) == (20, len(stage_ends))


@pytest.mark.parametrize('dtype', [torch.int64, torch.bool, torch.float32])
def test_pads_change_nothing(dtype):
    encoder = StagedBert(settings(), (1, 2, 3, 4)).eval()
    longer = torch.cat([torch.where(MASK == 1, IDS, 13), torch.full((2, 3), 17)], dim=1)
    mask = torch.nn.functional.pad(MASK, (0, 3))
    before, after = staged(encoder)[-1], staged(encoder, longer, mask.to(dtype))[-1]
    torch.testing.assert_close(after[mask.bool()], before[MASK.bool()])


def test_no_pooler_and_only_the_layers_used():
    encoder = StagedBert(settings(num_hidden_layers=6), (1, 2, 3, 4))
    assert len(encoder.layers) == 4
    assert not [name for name, _ in encoder.named_parameters() if 'pooler' in name]


def test_every_parameter_has_a_gradient():
    encoder = StagedBert(settings(), (1, 2, 3, 4))
    staged(encoder)[-1].sum().backward()
    assert [name for name, parameter in encoder.named_parameters() if parameter.grad is None] == []


def test_config_from_a_folder(folder):
    encoder = StagedBert(folder[0], (2, 4))
    assert (encoder.out_channels, encoder.vocab_size, len(encoder.layers)) == (12, 20, 4)


@pytest.mark.parametrize('stage_ends', [(1, 2, 3, 4), (1, 2)])
def test_pretrained(folder, stage_ends):
    path, model = folder
    encoder = StagedBert(path, stage_ends, pretrained=path).eval()
    with torch.no_grad():
        expected = model(IDS, attention_mask=MASK, output_hidden_states=True).hidden_states[stage_ends[-1]]
        real = MASK.bool()
        assert not torch.allclose(staged(encoder)[-1][real], expected[real], atol=1e-3), 'read by init_weights only'
        encoder.init_weights()
        torch.testing.assert_close(staged(encoder)[-1][real], expected[real])


@pytest.mark.parametrize(
    ('changed', 'message'),
    [
        (dict(hidden_size=8), r'is of another model: embeddings\.\S+ has shape .*12.*, the config makes .*8'),
        (dict(vocab_size=21), r'word_embeddings\.weight has shape \(20, 12\), the config makes \(21, 12\)'),
        (dict(num_hidden_layers=5), r'it lacks layers\.4\.\S+ .*partial=True'),
    ],
)
def test_pretrained_of_another_size(folder, changed, message):
    encoder = StagedBert(settings(**changed), (1, 2, 3, changed.get('num_hidden_layers', 4)), pretrained=folder[0])
    with pytest.raises(CheckpointError, match=message):
        encoder.init_weights()


@pytest.mark.parametrize('what', ['nothing', 'an empty folder', 'no weights', 'half the weights'])
def test_pretrained_that_is_not_there(what, folder, tmp_path):
    path = tmp_path / 'none' if what == 'nothing' else tmp_path / 'bert'
    weights = tmp_path / 'bert' / 'model.safetensors'
    if what == 'an empty folder':
        path = tmp_path / 'empty'
        path.mkdir()
    elif what == 'no weights':
        weights.unlink()
    elif what == 'half the weights':
        weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    encoder = StagedBert(settings(), (1, 2, 3, 4), pretrained=str(path))
    with pytest.raises(CheckpointError, match=r"text_encoder\.pretrained='.*'.*; give the folder of a downloaded"):
        encoder.init_weights()


def test_pretrained_that_lacks_a_weight(folder, tmp_path):
    """transformers would fill the gap with random numbers and warn."""
    path = tmp_path / 'bert' / 'model.safetensors'
    weights = load_file(path)
    del weights['encoder.layer.2.output.dense.bias']
    save_file(weights, path, metadata={'format': 'pt'})
    encoder = StagedBert(settings(), (1, 2, 3, 4), pretrained=folder[0])
    with pytest.raises(CheckpointError, match=r'it lacks layers\.2\.output\.dense\.bias'):
        encoder.init_weights()
    StagedBert(settings(), (1, 2), pretrained=folder[0]).init_weights()  # not one of the layers used
    partial = StagedBert(settings(), (1, 2, 3, 4), pretrained=folder[0], partial=True)
    partial.init_weights()
    assert partial.layers[2].output.dense.weight.equal(weights['encoder.layer.2.output.dense.weight'])


KIN = {
    'roberta': dict(max_position_embeddings=20, pad_token_id=1),
    'xlm-roberta': dict(max_position_embeddings=20, pad_token_id=1),
    'electra': dict(embedding_size=12),
    'electra, narrow words': dict(model_type='electra', embedding_size=6),
}


@pytest.mark.parametrize('kind', KIN)
def test_kin_of_bert(kind, tmp_path):
    """Stage by stage transformers' hidden states, positions of RoBERTa's kind included."""
    config = AutoConfig.for_model(**{'model_type': kind, **SIZES, **KIN[kind]})
    model = AutoModel.from_config(config).eval()
    model.save_pretrained(tmp_path)
    encoder = StagedBert({'model_type': kind, **SIZES, **KIN[kind]}, (1, 2, 4), pretrained=str(tmp_path)).eval()
    encoder.init_weights()
    ids = torch.where(MASK == 1, IDS, model.config.pad_token_id)
    with torch.no_grad():
        expected = model(ids, attention_mask=MASK, output_hidden_states=True).hidden_states
        for end, output in zip((1, 2, 4), staged(encoder, ids), strict=True):
            torch.testing.assert_close(output[MASK.bool()], expected[end][MASK.bool()])
    staged(encoder, ids)[-1].sum().backward()
    assert [name for name, parameter in encoder.named_parameters() if parameter.grad is None] == []
    longest = torch.full((1, encoder.max_tokens), 5)
    encoder.stem(longest, torch.ones_like(longest))
    with pytest.raises((IndexError, RuntimeError)):
        encoder.stem(torch.full((1, encoder.max_tokens + 1), 5), torch.ones(1, encoder.max_tokens + 1))


@pytest.mark.parametrize(
    ('config', 'given', 'expected'),
    [
        (dict(model_type='bert'), None, 103),
        (dict(model_type='bert'), 7, 7),
        (dict(model_type='electra'), None, 103),
        (dict(model_type='roberta', vocab_size=50265), None, 50264),
        (dict(model_type='xlm-roberta', vocab_size=250002), None, 250001),
        (dict(model_type='camembert'), None, None),
        (dict(model_type='bert', vocab_size=50), None, None),
        (dict(model_type='bert', vocab_size=50), 49, 49),
    ],
)
def test_mask_token(config, given, expected):
    with torch.device('meta'):
        assert StagedBert(config, (1, 1, 1, 1), given).mask_token_id == expected


@pytest.mark.parametrize(
    ('config', 'stage_ends', 'message'),
    [
        (settings(), (1, 2, 5), r'stage_ends=\(1, 2, 5\): must not fall, and the encoder has 4 layers'),
        (settings(), (2, 1, 4), r'stage_ends=\(2, 1, 4\): must not fall'),
        (settings(), (-1, 1, 4), r'stage_ends=\(-1, 1, 4\): must not fall'),
        (settings(), (), r'stage_ends=\(\): must not fall'),
        (
            dict(model_type='distilbert', vocab_size=20, dim=12, n_layers=2, n_heads=2, hidden_dim=16),
            (1, 2),
            "text encoder 'distilbert': expected a BERT-type model",
        ),
        (
            dict(model_type='mpnet', **SIZES),
            (1, 4),
            r"'mpnet': expected a BERT-type model .*; it has encoder\.relative_attention_bias\.weight beside them",
        ),
    ],
)
def test_refused(config, stage_ends, message):
    with pytest.raises(ValueError, match=message):
        StagedBert(config, stage_ends)


def test_mask_token_outside_the_vocabulary():
    with pytest.raises(ValueError, match='mask_token_id=20: the vocabulary has 20 words'):
        StagedBert(settings(), (1, 4), mask_token_id=20)


def test_weights_are_those_of_the_published_model():
    """Names a converter relies on: the encoder's own, with `encoder.layer` for `layers`."""
    names = {name.replace('layers.', 'encoder.layer.', 1) for name in StagedBert(settings(), (1, 4)).state_dict()}
    theirs = AutoModel.from_config(BertConfig(**SIZES), add_pooling_layer=False).state_dict()
    assert names == set(theirs)


def test_trained_layers():
    """Embeddings and the last layers stay as they were; gradients still pass through them to what is before."""
    encoder = StagedBert(settings(), stage_ends=(4,), trained_layers=3)
    trained = {name.split('.')[1] for name, weight in encoder.named_parameters() if weight.requires_grad}
    assert trained == {'0', '1', '2'}
    staged(encoder)[-1].square().mean().backward()
    assert all(weight.grad is not None for weight in encoder.parameters() if weight.requires_grad)
