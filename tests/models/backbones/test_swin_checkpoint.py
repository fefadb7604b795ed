"""ImageNet weights of Swin, in every layout in which they are published; what does not fit is refused by name."""

import pytest
import torch
from torch.nn.functional import interpolate

from mmmagnet.models.backbones import StagedSwin
from mmmagnet.models.backbones.swin_checkpoint import resize_bias_table
from mmmagnet.utils.errors import CheckpointError

SIZES = dict(embed_dims=4, depths=(1, 2), num_heads=(1, 2), window_size=2)


@pytest.fixture
def published():
    """Random weights under the Swin authors' names, with what a classifier has beside them."""
    weights = {
        'patch_embed.proj.weight': (4, 3, 4, 4),
        'patch_embed.proj.bias': (4,),
        'patch_embed.norm.weight': (4,),
        'patch_embed.norm.bias': (4,),
        'layers.0.downsample.norm.weight': (16,),
        'layers.0.downsample.norm.bias': (16,),
        'layers.0.downsample.reduction.weight': (8, 16),
    }
    for stage, block, width, heads in ((0, 0, 4, 1), (1, 0, 8, 2), (1, 1, 8, 2)):
        shapes = {
            'attn.relative_position_bias_table': (9, heads),
            'attn.qkv.weight': (3 * width, width),
            'attn.qkv.bias': (3 * width,),
            'attn.proj.weight': (width, width),
            'attn.proj.bias': (width,),
            'norm1.weight': (width,),
            'norm1.bias': (width,),
            'norm2.weight': (width,),
            'norm2.bias': (width,),
            'mlp.fc1.weight': (4 * width, width),
            'mlp.fc1.bias': (4 * width,),
            'mlp.fc2.weight': (width, 4 * width),
            'mlp.fc2.bias': (width,),
        }
        weights |= {f'layers.{stage}.blocks.{block}.{name}': shape for name, shape in shapes.items()}
    return {name: torch.randn(shape) for name, shape in weights.items()}


@pytest.fixture
def load(tmp_path):
    def load(content, **sizes):
        torch.save(content, tmp_path / 'swin.pth')
        backbone = StagedSwin(**{**SIZES, **sizes}, pretrained=str(tmp_path / 'swin.pth'))
        backbone.init_weights()
        return backbone.state_dict()

    return load


def openmmlab(weights):
    """The same weights under mmseg's names, merging its neighbours in `nn.Unfold`'s order."""
    renamed = {}
    for name, value in weights.items():
        for theirs, ours in (
            ('layers.', 'stages.'),
            ('patch_embed.proj.', 'patch_embed.projection.'),
            ('.attn.', '.attn.w_msa.'),
            ('.mlp.fc1.', '.ffn.layers.0.0.'),
            ('.mlp.fc2.', '.ffn.layers.1.'),
        ):
            name = name.replace(theirs, ours)
        if 'downsample' in name:
            width = value.shape[-1] // 4
            # entry (channel c, row y, column x) of theirs is neighbour 2 * x + y, channel c, of the authors'
            order = [(2 * x + y) * width + c for c in range(width) for y in (0, 1) for x in (0, 1)]
            value = value[..., order]
        renamed[name] = value
    return renamed


def check(own, published):
    """Every published weight has arrived, and nothing else is there."""
    assert len(own) == len(published)
    for name, value in published.items():
        name = name.replace('layers.0.downsample', 'downsamples.0').replace('layers.', 'stages.')
        name = name.replace('.blocks', '').replace('.fc1', '.0').replace('.fc2', '.2')
        assert own[name].equal(value), name


EXTRA = {
    'head.weight': (7, 8),
    'head.bias': (7,),
    'norm.weight': (8,),
    'layers.0.blocks.0.attn.relative_position_index': (4, 4),
    'layers.1.blocks.1.attn_mask': (4, 4, 4),
}


@pytest.mark.parametrize('extra', [False, True])
@pytest.mark.parametrize('wrap', ['model', 'state_dict', None])
def test_the_authors_layout(wrap, extra, load, published):
    content = dict(published)
    if extra:
        content |= {name: torch.zeros(shape) for name, shape in EXTRA.items()}
    check(load({wrap: content} if wrap else content), published)


@pytest.mark.parametrize('prefix', ['', 'backbone.', 'module.backbone.'])
def test_openmmlab_layout(prefix, load, published):
    content = {prefix + name: value for name, value in openmmlab(published).items()}
    content |= {prefix + 'norm3.weight': torch.zeros(8), prefix + 'norm.bias': torch.zeros(8)}
    if prefix:
        content |= {prefix.replace('backbone.', 'decode_head.conv.weight'): torch.zeros(3)}
    check(load({'state_dict': content}), published)


@pytest.mark.parametrize('window', [3, 4])
def test_another_window(window, load, published):
    own = load(published, window_size=window)
    for name, value in published.items():
        if name.endswith('bias_table'):
            table = own[name.replace('layers.', 'stages.').replace('.blocks', '')]
            assert table.shape == ((2 * window - 1) ** 2, value.shape[1])
            torch.testing.assert_close(table, resize_bias_table(value, len(table)))


def test_resized_table_is_a_bicubic_image_of_each_head():
    table = torch.randn(25, 3)
    for head, column in zip(resize_bias_table(table, 49).T, table.T, strict=True):
        expected = interpolate(column.view(1, 1, 5, 5), (7, 7), mode='bicubic', align_corners=False)
        torch.testing.assert_close(head.reshape(7, 7), expected[0, 0])
    assert resize_bias_table(table, 25) is table


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'layers.1.blocks.1.mlp.fc1.bias': None}, r'it lacks stages\.1\.1\.mlp\.0\.bias \(1 of .*; give `pretrained`'),
        ({'layers.1.blocks.2.norm1.bias': (8,)}, r'makes no stages\.1\.2\.norm1\.bias'),
        ({'absolute_pos_embed': (1, 4, 4)}, 'makes no absolute_pos_embed'),
        ({'patch_embed.proj.bias': (5,)}, r'patch_embed\.proj\.bias has shape \(5,\), the config makes \(4,\)'),
        (
            {'layers.0.blocks.0.attn.relative_position_bias_table': (9, 3)},
            r'stages\.0\.0\.attn\.relative_position_bias_table has shape \(9, 3\), the config makes \(9, 1\)',
        ),
        (
            {'layers.0.blocks.0.attn.relative_position_bias_table': (8, 1)},
            r'bias_table has shape \(8, 1\), the config makes \(9, 1\)',
        ),
        (
            {'layers.0.blocks.0.attn.relative_position_bias_table': ()},
            r'bias_table has shape \(\), the config makes \(9, 1\)',
        ),
    ],
)
def test_refused_by_name(change, message, load, published, tmp_path):
    for name, shape in change.items():
        if shape is None:
            del published[name]
        else:
            published[name] = torch.zeros(shape)
    with pytest.raises(CheckpointError, match=message) as caught:
        load({'model': published})
    assert str(tmp_path / 'swin.pth') in str(caught.value)


def test_many_names_are_counted(load, published):
    with pytest.raises(CheckpointError, match=r'\(13 of .* entries missing\)'):
        load({name: value for name, value in published.items() if not name.startswith('layers.1.blocks.1.')})


def test_refusal_changes_nothing(published, tmp_path):
    del published['patch_embed.proj.bias']
    torch.save(published, tmp_path / 'swin.pth')
    backbone = StagedSwin(**SIZES, pretrained=str(tmp_path / 'swin.pth'))
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    with pytest.raises(CheckpointError):
        backbone.init_weights()
    assert all(value.equal(before[name]) for name, value in backbone.state_dict().items())


def test_missing_file_is_only_missed_when_weights_are_initialised(tmp_path):
    backbone = StagedSwin(**SIZES, pretrained=str(tmp_path / 'none.pth'))
    with pytest.raises(FileNotFoundError, match=r'none\.pth: no such checkpoint file'):
        backbone.init_weights()


def mmseg_swin(**sizes):
    from mmseg.models.backbones import SwinTransformer

    return SwinTransformer(pretrain_img_size=32, strides=(4, 2), out_indices=(0, 1), drop_path_rate=0, **sizes)


def mmpretrain_swin(**sizes):
    pytest.importorskip('mmpretrain')
    from mmpretrain.models import SwinTransformer

    window = sizes.pop('window_size')
    depths, heads = list(sizes['depths']), list(sizes['num_heads'])
    arch = dict(embed_dims=sizes['embed_dims'], depths=[*depths, 1, 1], num_heads=[*heads, 2, 2])
    model = SwinTransformer(arch, 32, window_size=window, out_indices=(0, 1), drop_path_rate=0, pad_small_map=True)
    del model.stages[2:]
    model.stages[1].downsample = None
    return model


@pytest.mark.parametrize('build', [mmseg_swin, mmpretrain_swin])
def test_same_numbers_as_the_packages_own_encoder(build, tmp_path):
    """A file that mmseg or mmpretrain would write makes our encoder compute what theirs computes, merging included."""
    theirs = build(**SIZES)
    theirs.eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    torch.save({'state_dict': {f'backbone.{name}': v for name, v in theirs.state_dict().items()}}, tmp_path / 'a.pth')
    ours = StagedSwin(**SIZES, drop_path_rate=0, pretrained=str(tmp_path / 'a.pth')).eval()
    ours.init_weights()
    inputs = torch.randn(2, 3, 32, 48)
    with torch.no_grad():
        first = ours.forward_stage(0, ours.stem(inputs))
        second = ours.forward_stage(1, ours.downsample(0, first))
        for stage, (own, expected) in enumerate(zip((first, second), theirs(inputs), strict=True)):
            norm = getattr(theirs, f'norm{stage}', torch.nn.Identity())
            torch.testing.assert_close(norm(own).permute(0, 3, 1, 2), expected, rtol=1e-4, atol=1e-4)


def test_partial_takes_what_fits(published, tmp_path):
    kept = {name: value for name, value in published.items() if not name.startswith('layers.1.')}
    torch.save({'model': {**kept, 'absolute_pos_embed': torch.zeros(1)}}, tmp_path / 'swin.pth')
    backbone = StagedSwin(**SIZES, pretrained=str(tmp_path / 'swin.pth'), partial=True)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    backbone.init_weights()
    for name, value in backbone.state_dict().items():
        if name.startswith('stages.1.'):
            assert value.equal(before[name]), name
    assert backbone.stages[0][0].attn.qkv.weight.equal(published['layers.0.blocks.0.attn.qkv.weight'])
    torch.save({'model': {'conv1.weight': torch.zeros(1)}}, tmp_path / 'swin.pth')
    with pytest.raises(CheckpointError, match='no entry fits'):
        backbone.init_weights()
