"""CLIP's own files: renamed and unstacked for both encoders; a TorchScript archive is refused."""

import pytest
import torch
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from mmmagnet.models.backbones.adapted_dinov2 import AdaptedDINOv2
from mmmagnet.models.backbones.clip_resnet import CLIPResNet
from mmmagnet.models.clip_checkpoint import read_clip
from mmmagnet.models.text_encoders import StagedClipText
from mmmagnet.utils.errors import CheckpointError

TEXT = dict(
    vocab_size=20,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=64,
    max_position_embeddings=9,
    eos_token_id=19,
)
IMAGE = dict(depths=(2, 1, 1, 1), width=16, embed_dims=12, pretrain_size=64)


def clip_file():
    """A state dict as OpenAI's, of a ResNet and a text transformer, in half precision."""
    shapes = {'positional_embedding': (9, 16), 'text_projection': (16, 12), 'logit_scale': ()}
    shapes |= {'token_embedding.weight': (20, 16), 'ln_final.weight': (16,), 'ln_final.bias': (16,)}
    for layer in range(2):
        block = f'transformer.resblocks.{layer}.'
        shapes |= {f'{block}attn.in_proj_weight': (48, 16), f'{block}attn.in_proj_bias': (48,)}
        for name, (out, width) in {'attn.out_proj': (16, 16), 'mlp.c_fc': (64, 16), 'mlp.c_proj': (16, 64)}.items():
            shapes |= {f'{block}{name}.weight': (out, width), f'{block}{name}.bias': (out,)}
        for norm in ('ln_1', 'ln_2'):
            shapes |= {f'{block}{norm}.weight': (16,), f'{block}{norm}.bias': (16,)}
    for name, value in CLIPResNet(**IMAGE).state_dict().items():
        if '.connect.' in name:
            continue
        theirs = name.replace('attention_map.', 'attnpool.')
        for stage in range(4):
            theirs = theirs.replace(f'stages.{stage}.', f'layer{stage + 1}.')
        shapes[f'visual.{theirs}'] = value.shape
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator).abs().half() for name, shape in shapes.items()}


@pytest.fixture
def path(tmp_path):
    torch.save(clip_file(), tmp_path / 'clip.pth')
    return str(tmp_path / 'clip.pth')


def test_image_encoder(path):
    backbone = CLIPResNet(**IMAGE, pretrained=path)
    connect = backbone.attention_map.connect[0].weight.clone()
    backbone.init_weights()
    entries = clip_file()
    for ours, theirs in (
        (backbone.stages[0][1].conv2.weight, 'visual.layer1.1.conv2.weight'),
        (backbone.stages[3][0].downsample[1].running_var, 'visual.layer4.0.downsample.1.running_var'),
        (backbone.attention_map.positional_embedding, 'visual.attnpool.positional_embedding'),
    ):
        assert torch.equal(ours, entries[theirs].float())
    assert torch.equal(backbone.attention_map.connect[0].weight, connect)


def test_text_encoder(path):
    encoder = StagedClipText(TEXT, (2,), sentence_channels=12, pretrained=path, adapter_width=16, adapter_layers=(1,))
    kept = {
        name: value.clone() for name, value in encoder.state_dict().items() if name.startswith(('adapters', 'mask'))
    }
    encoder.init_weights()
    entries = clip_file()
    stacked = entries['transformer.resblocks.1.attn.in_proj_weight'].float()
    assert torch.equal(encoder.layers[1].self_attn.k_proj.weight, stacked[16:32])
    assert torch.equal(encoder.text_projection.weight, entries['text_projection'].float().T)
    assert torch.equal(encoder.layers[0].mlp.fc2.bias, entries['transformer.resblocks.0.mlp.c_proj.bias'].float())
    assert kept and all(torch.equal(encoder.state_dict()[name], value) for name, value in kept.items())


@pytest.mark.parametrize('adapters', [(), (0,)])
def test_text_encoder_by_name(adapters, tmp_path):
    """A folder or a name of the hub gives the projection too, where the encoder has one."""
    model = CLIPTextModelWithProjection(CLIPTextConfig(**TEXT, projection_dim=12)).eval()
    model.save_pretrained(tmp_path)
    encoder = StagedClipText(
        TEXT, (2,), sentence_channels=12, pretrained=str(tmp_path), adapter_width=16, adapter_layers=adapters
    ).eval()
    encoder.init_weights()
    ids, mask = torch.tensor([[18, 3, 19, 19]]), torch.tensor([[1, 1, 1, 0]])
    words = encoder.forward_stage(0, encoder.stem(ids, mask), mask)
    with torch.no_grad():
        expected = model(ids, attention_mask=mask).text_embeds
    assert torch.allclose(encoder.sentence(words, mask), expected, atol=1e-6) == (not adapters)


@pytest.mark.parametrize('read', [read_clip, lambda path: CLIPResNet(**IMAGE, pretrained=path).init_weights()])
def test_torchscript_is_refused(read, tmp_path):
    path = str(tmp_path / 'RN50.pt')
    torch.jit.script(nn.Linear(2, 2)).save(path)
    with pytest.raises(CheckpointError, match=r'RN50\.pt: is a TorchScript archive, .*state_dict\(\), OUT\)'):
        read(path)


@pytest.mark.parametrize(
    ('build', 'message'),
    [
        (lambda path: CLIPResNet(**{**IMAGE, 'width': 32}, pretrained=path), r'has shape .*a CLIP ResNet of its size'),
        (
            lambda path: CLIPResNet(**{**IMAGE, 'depths': (1, 1, 1, 1)}, pretrained=path),
            r'makes no stages\.0\.1\.conv1',
        ),
        (lambda path: StagedClipText(TEXT, (2,), sentence_channels=8, pretrained=path), r'text_projection\.weight has'),
        (lambda path: AdaptedDINOv2(16, 24, 2, 2, pretrain_size=28, pretrained=path), r'it lacks cls_token'),
    ],
)
def test_of_another_size(build, message, path):
    with pytest.raises(CheckpointError, match=message):
        build(path).init_weights()


def test_dinov2_of_its_own_file(tmp_path):
    sizes = dict(text_channels=16, embed_dims=24, depth=2, num_heads=2, pretrain_size=28, adapter_width=16)
    sizes |= dict(adapter_blocks=(1,), adapter_cross_width=16, adapter_heads=2, out_blocks=(0, 0))
    source = AdaptedDINOv2(**sizes)
    entries = {name: value for name, value in source.state_dict().items() if '.adapter.' not in name}
    torch.save({**entries, 'mask_token': torch.zeros(1, 24)}, tmp_path / 'dinov2.pth')
    backbone = AdaptedDINOv2(**sizes, pretrained=str(tmp_path / 'dinov2.pth'))
    adapter = backbone.blocks[1].adapter.down.weight.clone()
    backbone.init_weights()
    assert all(torch.equal(backbone.state_dict()[name], value) for name, value in entries.items())
    assert torch.equal(backbone.blocks[1].adapter.down.weight, adapter)
