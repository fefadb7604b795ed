"""Released files: every entry used or known as unused, all else refused by name; nothing in them is run."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from mmengine.registry import init_default_scope

from mmmagnet.model_converters import (
    architecture,
    convert,
    model_config,
    read_release,
    released_name,
    unlike,
    unused_entries,
)
from mmmagnet.registry import MODELS
from mmmagnet.utils.errors import CheckpointError

DATA = Path(__file__).parents[1] / 'data' / 'official_parity'
MANIFESTS = {'magnet': 'manifest_small.json', 'lavt': 'manifest_lavt_small.json'}
SIZES = {'magnet': 'arch_small.json', 'lavt': 'arch_lavt_small.json'}
KINDS = ['magnet', 'lavt']


@pytest.fixture
def wanted_of(published):
    """Make the state dict of our model for released entries."""

    def make(kind, entries):
        init_default_scope('mmseg')
        with torch.device('meta'):
            return MODELS.build(model_config(published(kind), architecture(entries, kind), kind)).state_dict()

    return make


@pytest.mark.parametrize(
    ('kind', 'ours', 'theirs'),
    [
        ('magnet', 'backbone.patch_embed.proj.weight', 'image_model.patch_embed.proj.weight'),
        ('magnet', 'backbone.stages.2.17.attn.qkv.bias', 'image_model.layers.2.blocks.17.attn.qkv.bias'),
        ('magnet', 'backbone.stages.0.1.mlp.2.bias', 'image_model.layers.0.blocks.1.mlp.fc2.bias'),
        ('magnet', 'neck.stages.1.attention.query.bias', 'image_model.layers.1.fusion.image_lang_att.f_query.0.bias'),
        ('magnet', 'neck.stages.1.attention.image.bias', 'image_model.layers.1.fusion.vis_project.0.bias'),
        (
            'magnet',
            'neck.stages.0.pyramid.3.attention.out_norm.weight',
            'image_model.layers.0.fusions.3.image_lang_att.W.1.weight',
        ),
        ('magnet', 'neck.stages.0.pyramid.3.reduce.4.weight', 'image_model.layers.0.pyramids.3.5.weight'),
        ('magnet', 'neck.stages.2.text_attention.text.weight', 'language_model.pwams.2.vis_project.0.weight'),
        (
            'magnet',
            'neck.stages.2.text_attention.key.weight',
            'language_model.pwams.2.image_lang_att.f_key.0.weight',
        ),
        ('magnet', 'neck.stages.2.text_gate.outer.weight', 'language_model.res_gates.2.2.weight'),
        ('magnet', 'text_encoder.layers.11.output.dense.bias', 'language_model.encoder.layer.11.output.dense.bias'),
        (
            'magnet',
            'decode_head.query_decoder.layers.8.cross_attention.in_proj_weight',
            'classifier.predictor.transformer_cross_attention_layers.8.multihead_attn.in_proj_weight',
        ),
        (
            'magnet',
            'decode_head.query_decoder.layers.8.self_norm.bias',
            'classifier.predictor.transformer_self_attention_layers.8.norm.bias',
        ),
        ('magnet', 'auxiliary_head.1.word_proj.bias', 'lang_proj.bias'),
        ('lavt', 'backbone.downsamples.2.reduction.weight', 'backbone.layers.2.downsample.reduction.weight'),
        ('lavt', 'neck.stages.3.mixer.weight', 'backbone.norm3.weight'),
        ('lavt', 'neck.stages.0.gate.inner.weight', 'backbone.layers.0.res_gate.0.weight'),
        ('lavt', 'decode_head.scales.0.0.conv.weight', 'classifier.conv1_4.weight'),
        ('lavt', 'decode_head.scales.2.1.bn.running_var', 'classifier.bn2_2.running_var'),
        ('lavt', 'decode_head.classify.bias', 'classifier.conv1_1.bias'),
    ],
)
def test_released_name(kind, ours, theirs):
    assert released_name(ours, kind) == theirs


@pytest.mark.parametrize('kind', KINDS)
def test_every_entry_is_used_or_known_as_unused(kind, released, wanted_of):
    entries = released(kind)['model']
    wanted = wanted_of(kind, entries)
    assert len({released_name(name, kind) for name in wanted}) == len(wanted)  # no two of ours from one of theirs
    converted = convert(entries, kind, wanted)
    assert [name for name in wanted if name not in converted] == [
        name for name in wanted if name.startswith('auxiliary_head.') and 'word_proj' not in name
    ]
    used = {released_name(name, kind) for name in converted}
    unused = unused_entries(entries, kind, wanted)
    assert used.isdisjoint(unused)
    assert used | set(unused) == set(json.loads((DATA / MANIFESTS[kind]).read_text()))
    beginnings = {'magnet': ('image_model.norm', 'language_model.norms.'), 'lavt': ()}[kind]
    assert all(name.startswith(beginnings) or name.endswith('relative_position_index') for name in unused)
    for name, value in converted.items():
        assert torch.equal(value.flatten(), entries[released_name(name, kind)].flatten()), name


@pytest.mark.parametrize('kind', KINDS)
def test_sizes_are_read_off_the_entries(kind, released):
    arch = json.loads((DATA / SIZES[kind]).read_text())
    found = architecture(released(kind)['model'], kind)
    assert found == {name: arch[name] for name in found}
    assert not {'embed_dims', 'depths', 'num_heads', 'window_size', 'bert'} - found.keys()


def test_published_sizes_are_the_configs(published):
    """A file of the published sizes makes the config's own model."""
    for kind in KINDS:
        config = published(kind)
        init_default_scope('mmseg')
        with torch.device('meta'):
            whole = MODELS.build(config).state_dict()
        entries = {released_name(name, kind): value for name, value in whole.items()}
        made = model_config(config, architecture(entries, kind), kind)
        with torch.device('meta'):
            shapes = {name: value.shape for name, value in MODELS.build(made).state_dict().items()}
        assert shapes == {name: value.shape for name, value in whole.items()}
        assert list(made['text_encoder']['stage_ends']) == list(config['text_encoder']['stage_ends'])


@pytest.mark.parametrize(
    ('kind', 'apart', 'prefix'),
    [
        ('magnet', False, ''),
        ('magnet', False, 'module.'),
        ('lavt', False, ''),
        ('lavt', True, ''),
        ('lavt', True, 'module.'),
    ],
)
def test_read_release(kind, apart, prefix, released, tmp_path, wanted_of):
    torch.save(released(kind, apart, prefix), tmp_path / 'released.pth')
    release = read_release(tmp_path / 'released.pth')
    assert release.kind == kind
    assert release.settings['dataset'] == 'refcoco'
    entries = released(kind)['model']
    extra = release.entries.keys() - entries.keys()
    assert extra == ({'text_encoder.pooler.dense.weight', 'text_encoder.embeddings.position_ids'} if apart else set())
    assert all(release.entries[name].equal(value) for name, value in entries.items())
    convert(release.entries, kind, wanted_of(kind, release.entries))


class Payload:
    """Runs code when it is unpickled the usual way."""

    def __reduce__(self):
        return (exec, ('raise SystemExit("ran")',))


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ({'model': {'image_model.x': torch.zeros(1)}, 'args': Payload()}, r'could run code \(GLOBAL .*exec'),
        ([1, 2], 'holds a list, expected a released checkpoint with `model`'),
        ({'model': 3}, 'model is a int, expected a state dict'),
        ({'model': {'image_model.x': 'y'}}, "model: the entry 'image_model.x' is no tensor"),
        ({'model': {'encoder.x': torch.zeros(1)}}, 'model holds encoder.x and neither image_model'),
        (
            {'model': {'image_model.x': torch.zeros(1), 'module.image_model.x': torch.ones(1)}},
            'model: image_model.x is there twice',
        ),
        ({'epoch': 3}, "model: the entry 'epoch' is no tensor"),
        ({'state_dict': {}, 'meta': {}}, 'is a checkpoint of MMEngine, not a released one'),
        (
            {'model': {'image_model.x': torch.zeros(1)}, 'bert_model': {'y': torch.zeros(1)}},
            'two text encoders',
        ),
    ],
)
def test_refused_files(content, message, tmp_path):
    torch.save(content, tmp_path / 'bad.pth')
    with pytest.raises(CheckpointError, match=message):
        read_release(tmp_path / 'bad.pth')


def test_truncated_missing_and_plain_pickle(released, tmp_path):
    path = tmp_path / 'bad.pth'
    torch.save(released('lavt'), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(CheckpointError, match=r'bad\.pth: not a whole checkpoint file'):
        read_release(path)
    path.write_bytes(pickle.dumps(Payload()))
    with pytest.raises(CheckpointError, match='could run code'):
        read_release(path)
    with pytest.raises(FileNotFoundError, match=r'none\.pth: no such checkpoint file'):
        read_release(tmp_path / 'none.pth')


@pytest.mark.parametrize(
    ('kind', 'name'),
    [
        ('magnet', 'image_model.layers.1.fusions.2.image_lang_att.f_value.0.weight'),
        ('magnet', 'image_model.patch_embed.proj.weight'),
        ('magnet', 'language_model.res_gates.1.0.weight'),
        ('magnet', 'classifier.predictor.query_feat.weight'),
        ('lavt', 'backbone.layers.0.blocks.0.norm1.weight'),
        ('lavt', 'backbone.layers.2.blocks.1.attn.relative_position_bias_table'),
        ('lavt', 'text_encoder.embeddings.LayerNorm.weight'),
        ('lavt', 'classifier.bn1_2.running_mean'),
    ],
)
def test_missing_misshapen_and_damaged_entries(kind, name, released, wanted_of):
    entries = released(kind)['model']
    value = entries[name]
    wanted = wanted_of(kind, entries)
    for change, message in (
        (None, f'file.pth: lacks {name}'),
        (torch.zeros(*value.shape, 2), rf'file.pth: {name} has shape \({", ".join(map(str, (*value.shape, 2)))}\)'),
        (torch.cat([value, value]), f'file.pth: {name} has shape'),
        (torch.full_like(value, torch.nan), f'file.pth: {name} has values that are not finite'),
        (value.int(), f'file.pth: {name} holds torch.int32, expected weights'),
        (torch.full_like(value, 1e300, dtype=torch.float64), f'file.pth: {name} has values that are not finite'),
    ):
        changed = {**entries, name: change}
        if change is None:
            del changed[name]
        assert architecture(changed, kind) == architecture(entries, kind)  # one damaged entry does not change sizes
        with pytest.raises(CheckpointError, match=message):
            convert(changed, kind, wanted, 'file.pth')


@pytest.mark.parametrize(
    ('kind', 'name'),
    [
        ('magnet', 'image_model.layers.0.blocks.2.norm1.weight'),
        ('magnet', 'image_model.layers.0.blocks.200000.norm1.weight'),
        ('magnet', 'image_model.layers.4.blocks.0.norm1.weight'),
        ('magnet', 'language_model.encoder.layer.4.output.dense.bias'),
        ('magnet', 'image_model.norm9.weight'),
        ('magnet', 'lang_proj.scale'),
        ('lavt', 'odd.attn_mask'),
        ('lavt', 'backbone.norm4.bias'),
    ],
)
def test_an_entry_too_many_is_no_layer(kind, name, released, wanted_of):
    """It is named itself, and does not turn the network into a larger one that lacks the rest."""
    entries = released(kind)['model'] | {name: torch.zeros(2)}
    with pytest.raises(CheckpointError, match=f'has 1 entries that {kind} lacks, the first is {name}'):
        convert(entries, kind, wanted_of(kind, entries))


@pytest.mark.parametrize(
    ('value', 'message'),
    [
        (torch.zeros(0), r'x of shape \(0,\) has no numbers in the file'),
        (torch.zeros(1).expand(1 << 40), r'x of shape \(1099511627776,\) has no numbers in the file'),
        (torch.zeros(2).to_sparse(), 'x is not a plain tensor of numbers but torch.sparse_coo'),
        (torch.zeros(2, device='meta'), 'on meta'),
        (torch.zeros(2, dtype=torch.complex64), 'torch.complex64'),
        (torch.zeros(2).to(torch.float8_e4m3fn), 'torch.float8_e4m3fn'),
    ],
)
def test_entries_without_plain_numbers(value, message, tmp_path):
    torch.save({'model': {'image_model.x': value}}, tmp_path / 'bad.pth')
    with pytest.raises(CheckpointError, match=message):
        read_release(tmp_path / 'bad.pth')


@pytest.mark.parametrize('steps', [torch.zeros(3), torch.tensor(2.5), torch.tensor(-1)])
def test_counts_of_steps(steps, released, wanted_of):
    entries = released('lavt')['model']
    name = 'classifier.bn1_4.num_batches_tracked'
    wanted = wanted_of('lavt', entries)
    assert (
        convert(entries | {name: torch.tensor(7)}, 'lavt', wanted)['decode_head.scales.0.0.bn.num_batches_tracked'] == 7
    )
    with pytest.raises(CheckpointError, match=f'{name} is no number of steps'):
        convert(entries | {name: steps}, 'lavt', wanted)


def test_flipped_bytes(released, tmp_path):
    """torch.load takes them: only the archive's checksums know."""
    path = tmp_path / 'bad.pth'
    torch.save(released('lavt'), path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match='has a wrong checksum: the file is damaged'):
        read_release(path)


@pytest.mark.parametrize('kind', KINDS)
def test_sizes_unlike_the_published(kind, published):
    init_default_scope('mmseg')
    with torch.device('meta'):
        whole = MODELS.build(published(kind)).state_dict()
    entries = {released_name(name, kind): value for name, value in whole.items()}
    assert unlike(published(kind), architecture(entries, kind), kind) == []
    cut = {name: value for name, value in entries.items() if '.encoder.layer.11.' not in name}
    assert unlike(published(kind), architecture(cut, kind), kind) == ['num_hidden_layers 11 instead of 12']


@pytest.mark.parametrize('kind', KINDS)
def test_unknown_entries(kind, released, wanted_of):
    entries = released(kind)['model']
    wanted = wanted_of(kind, entries)
    with pytest.raises(CheckpointError, match=r'has 2 entries that .* lacks, the first is classifier\.extra'):
        convert({**entries, 'classifier.extra.weight': torch.zeros(1), 'odd': torch.zeros(1)}, kind, wanted)
