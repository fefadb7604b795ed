"""Released files: every entry used or known as unused, all else refused by name; nothing in them is run."""

import pickle
import re
from functools import reduce

import pytest
import torch

from mmmagnet.model_converters import CONVERTERS, LAVT, read_release
from mmmagnet.model_converters.release import check_archive
from mmmagnet.utils.errors import CheckpointError

# beginnings of what feeds no mask; integer buffers beside them
UNUSED = {'magnet': ('image_model.norm', 'language_model.norms.'), 'lavt': (), 'rela': (), 'caris': ()}
CONVERTER = {converter.kind: converter for converter in CONVERTERS}


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
        (
            'rela',
            'decode_head.region_decoder.layers.8.self_attention.in_proj_bias',
            'sem_seg_head.predictor.RLA_vision.8.self_attn.in_proj_bias',
        ),
        ('rela', 'neck.stages.1.attention.out.weight', 'backbone.layers.1.fusion.image_lang_att.W.0.weight'),
        (
            'caris',
            'decode_head.two_way_decoder.layers.5.image_norms.1.weight',
            'pixel_decoder.encoder.5.v_norm1.weight',
        ),
        ('caris', 'neck.prompters.1.2.bias', 'backbone.conditional_prompts.out_linears.1.bias'),
        ('caris', 'backbone.stages.3.1.norm2.bias', 'backbone.vis_encoder.layers.3.blocks.1.norm2.bias'),
    ],
)
def test_rename(kind, ours, theirs):
    assert CONVERTER[kind].rename(theirs) == ours


@pytest.mark.parametrize('kind', UNUSED)
def test_every_entry_is_used_or_known_as_unused(kind, released, own):
    entries, ours, rename = released(kind)['model'], own(kind), CONVERTER[kind].rename
    converted, unused = CONVERTER[kind].convert(entries, ours)
    absent = {name for name in ours if re.match(CONVERTER[kind].absent, name)}
    assert not any(converted[name].any() for name in absent)
    assert {name for name in ours if name not in converted} == {
        name for name in ours if name.startswith('auxiliary_head.') and 'word_proj' not in name
    }
    used = [name for name in entries if name not in unused]
    assert {rename(name) for name in used} == converted.keys() - absent
    assert all(name.startswith(UNUSED[kind]) or name.endswith('relative_position_index') for name in unused)
    for name, value in CONVERTER[kind].prepare(entries).items():
        if name in used:
            assert torch.equal(converted[rename(name)].flatten(), value.flatten()), name


@pytest.mark.parametrize('without', ['image gate', 'text side', 'alignment loss'])
def test_parts_that_feed_no_mask_may_be_left_out(without, released, own):
    beginning = {'image gate': 'gate.', 'text side': 'text_', 'alignment loss': None}[without]
    beginning = f'neck.stages.3.{beginning}' if beginning else 'auxiliary_head.1.word_proj.'
    ours = {name: value for name, value in own('magnet').items() if not name.startswith(beginning)}
    converted, unused = CONVERTER['magnet'].convert(released('magnet')['model'], ours)
    assert converted.keys() <= ours.keys()
    assert any(CONVERTER['magnet'].rename(name).startswith(beginning) for name in unused)


@pytest.mark.parametrize(
    ('kind', 'apart', 'prefix'),
    [
        ('magnet', False, ''),
        ('magnet', False, 'module.'),
        ('lavt', False, ''),
        ('lavt', True, ''),
        ('lavt', True, 'module.'),
        ('rela', False, ''),
        ('caris', False, 'module.'),
    ],
)
def test_read_release(kind, apart, prefix, released, tmp_path, own):
    torch.save(released(kind, apart, prefix), tmp_path / 'released.pth')
    release = read_release(tmp_path / 'released.pth')
    assert release.converter.kind == kind
    assert release.options['dataset'] == 'refcoco'
    entries = released(kind)['model']
    extra = release.entries.keys() - entries.keys()
    assert extra == ({'text_encoder.pooler.dense.weight', 'text_encoder.embeddings.position_ids'} if apart else set())
    assert all(release.entries[name].equal(value) for name, value in entries.items())
    release.converter.convert(release.entries, own(kind))


ENTRY = {'image_model.x': torch.zeros(1)}


class Payload:
    """Runs code when it is unpickled the usual way."""

    def __reduce__(self):
        return (exec, ('raise SystemExit("ran")',))


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ({'model': ENTRY, 'args': Payload()}, r'could run code \(GLOBAL .*exec'),
        ([1, 2], 'holds a list, expected a released checkpoint with `model`'),
        ({'model': 3}, 'model is a int, expected a state dict'),
        ({'model': {'image_model.x': 'y'}}, "model: the entry 'image_model.x' is no tensor"),
        ({'model': {'encoder.x': torch.zeros(1)}}, 'begins with encoder.x and has no entry of magnet'),
        ({'model': ENTRY | {'module.image_model.x': torch.ones(1)}}, 'model: image_model.x is there twice'),
        ({'epoch': 3}, "the file: the entry 'epoch' is no tensor"),
        ({'state_dict': {}, 'meta': {}}, 'is a checkpoint of MMEngine, not a released one'),
        ({'model': ENTRY, 'bert_model': {'y': torch.zeros(1)}}, 'two text encoders'),
    ],
)
def test_refused_files(content, message, tmp_path):
    torch.save(content, tmp_path / 'bad.pth')
    with pytest.raises(CheckpointError, match=message):
        read_release(tmp_path / 'bad.pth')


def test_deep_values_are_named_in_short(monkeypatch, tmp_path):
    """Python shows no tuples in thousands of tuples, which a file may hold."""
    nested = reduce(lambda value, _: (value,), range(5000), ())
    monkeypatch.setattr('mmmagnet.model_converters.release.load_file', lambda *_, **__: {'model': {nested: 0}})
    with pytest.raises(CheckpointError, match=r'model: the entry \(+\.\.\.[,)]+ is no tensor'):
        read_release(tmp_path / 'bad.pth')
    with pytest.raises(CheckpointError, match=r'args\.mha is \(+\.\.\.[,)]+, expected'):
        LAVT.apply_options({}, {'mha': nested}, 'file.pth')


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
        ('magnet', 'language_model.res_gates.1.0.weight'),
        ('magnet', 'classifier.predictor.query_feat.weight'),
        ('lavt', 'text_encoder.embeddings.LayerNorm.weight'),
        ('lavt', 'classifier.bn1_2.running_mean'),
        ('rela', 'sem_seg_head.predictor.RLA_lang_att.norm.weight'),
        ('caris', 'backbone.conditional_prompts.lang_prompts.weight'),
        ('caris', 'pixel_decoder.encoder.1.l2v_cross_attn.k_proj.bias'),
    ],
)
def test_missing_misshapen_and_damaged_entries(kind, name, released, own):
    entries, ours, value = released(kind)['model'], own(kind), released(kind)['model'][name]
    here = CONVERTER[kind].rename(name)
    for change, message in (
        (None, rf'file\.pth: is of another model: it lacks {here} \(1 of \d+ entries missing\); get the file again'),
        (torch.zeros(*value.shape, 2), rf'{name} \(here {here}\) has shape \({", ".join(map(str, value.shape))}, 2\)'),
        (torch.cat([value, value]), rf'{name} \(here {here}\) has shape .*, the config makes \({len(value)}'),
        (torch.full_like(value, torch.nan), f'file.pth: {name} has values that are not finite'),
        (value.int(), f'file.pth: {name} holds torch.int32, expected torch.float32'),
        (torch.full_like(value, 1e300, dtype=torch.float64), f'file.pth: {name} has values that are not finite'),
    ):
        changed = {**entries, name: change}
        if change is None:
            del changed[name]
        with pytest.raises(CheckpointError, match=message):
            CONVERTER[kind].convert(changed, ours, 'file.pth')


@pytest.mark.parametrize(
    ('kind', 'name'),
    [
        ('magnet', 'image_model.layers.0.blocks.200000.norm1.weight'),
        ('magnet', 'lang_proj.scale'),
        ('lavt', 'odd.attn_mask'),
        ('lavt', 'backbone.norm4.bias'),
        ('rela', 'sem_seg_head.predictor.RIA_layers.9.norm.bias'),
        ('caris', 'backbone.vis_encoder.mask_tokens'),
    ],
)
def test_unknown_entries(kind, name, released, own):
    entries = released(kind)['model'] | {name: torch.zeros(2), 'odd': torch.zeros(1)}
    with pytest.raises(CheckpointError, match=rf'the config makes no {name} .*\(2 entries too many\)'):
        CONVERTER[kind].convert(entries, own(kind))


def test_entries_of_training_are_left_out_of_caris(released, own):
    """Class weights of the loss, and the mask token that a checkpoint of MaskRIS has."""
    training = {'criterion.seg_criterion.weight': (2,), 'backbone.vis_encoder.mask_token': (1, 1, 32)}
    entries = released('caris')['model'] | {name: torch.zeros(shape) for name, shape in training.items()}
    assert training.keys() < set(CONVERTER['caris'].convert(entries, own('caris'))[1])


def test_the_words_factor_of_rela_is_never_loaded(released, own):
    """The released evaluation runs with 0 whatever the file holds."""
    name = 'sem_seg_head.predictor.lang_weight'
    entries = released('rela')['model'] | {name: torch.tensor(3.0)}
    assert CONVERTER['rela'].convert(entries, own('rela'))[0][CONVERTER['rela'].rename(name)] == 0


def test_one_entry_under_two_names(released, own):
    entries = released('lavt')['model'] | {'backbone.downsamples.0.norm.bias': torch.zeros(2)}
    with pytest.raises(CheckpointError, match=r'are the same entry, backbone\.downsamples\.0\.norm\.bias'):
        LAVT.convert(entries, own('lavt'))


@pytest.mark.parametrize(
    ('value', 'message'),
    [
        (torch.zeros(0), r'x of shape \(0,\) has no numbers in the file'),
        (torch.zeros(1).expand(1 << 40), r'x of shape \(1099511627776,\) has no numbers in the file'),
        (torch.zeros(2).to_sparse(), 'x is not a plain tensor of numbers but torch.sparse_coo'),
        (torch.zeros(2, device='meta'), 'on meta'),
        (torch.zeros(2).to(torch.float8_e4m3fn), 'torch.float8_e4m3fn'),
    ],
)
def test_entries_without_plain_numbers(value, message, tmp_path):
    torch.save({'model': {'image_model.x': value}}, tmp_path / 'bad.pth')
    with pytest.raises(CheckpointError, match=message):
        read_release(tmp_path / 'bad.pth')


def test_counts_of_steps(released, own):
    """A file need not have them; where it does, they are whole numbers."""
    entries, theirs = released('lavt')['model'], 'classifier.bn1_4.num_batches_tracked'
    for value, steps in ((None, 0), (torch.tensor(7), 7)):
        given = {name: kept for name, kept in (entries | {theirs: value}).items() if kept is not None}
        assert LAVT.convert(given, own('lavt'))[0][LAVT.rename(theirs)] == steps
    with pytest.raises(CheckpointError, match=f'{theirs} holds torch.float32, expected torch.int64'):
        LAVT.convert(entries | {theirs: torch.tensor(2.5)}, own('lavt'))


def test_heads_of_the_options(published):
    model = published('lavt')
    assert LAVT.apply_options(model, {'mha': ''}, 'file.pth') == model
    assert LAVT.apply_options(model, {'mha': '1-2-2-4'}, 'file.pth')['neck']['num_heads'] == [1, 2, 2, 4]
    with pytest.raises(CheckpointError, match=r"file\.pth: args\.mha is '2-2', expected four numbers"):
        LAVT.apply_options(model, {'mha': '2-2'}, 'file.pth')


def test_flipped_bytes(released, tmp_path):
    """torch.load takes them: only the archive's checksums know."""
    path = tmp_path / 'bad.pth'
    torch.save(released('lavt'), path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match='has a wrong checksum: the file is damaged'):
        read_release(path)


def test_damaged_index(tmp_path):
    """PyTorch passes over some damage that zipfile does not."""
    path = tmp_path / 'bad.pth'
    torch.save({'model': {}}, path)
    path.write_bytes(path.read_bytes().replace(b'PK\x01\x02', b'PK\x01\x03', 1))
    with pytest.raises(CheckpointError, match=r'bad\.pth: its index is damaged \(Bad magic number'):
        check_archive(path)
