"""CLIP's text transformer in stages: the same as transformers' model, and a [MASK] of its own."""

import pytest
import torch
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel

from mmmagnet.models.aux_heads import MaskGroundingHead
from mmmagnet.models.text_encoders import StagedClipText
from mmmagnet.utils.errors import CheckpointError

SIZES = dict(
    vocab_size=20,
    hidden_size=12,
    num_hidden_layers=4,
    num_attention_heads=2,
    intermediate_size=16,
    max_position_embeddings=8,
    bos_token_id=18,
    eos_token_id=19,
)
IDS = torch.tensor([[18, 7, 8, 9, 19], [18, 11, 19, 19, 19]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])


def staged(encoder, ids=IDS, mask=MASK):
    words = encoder.stem(ids, mask)
    outputs = []
    for stage in range(encoder.num_stages):
        words = encoder.forward_stage(stage, words, mask)
        outputs.append(words)
    return outputs


@pytest.fixture(params=['text encoder', 'whole CLIP'])
def folder(request, tmp_path):
    """A saved CLIP, or its text encoder alone, and the text model."""
    torch.manual_seed(5)
    if request.param == 'text encoder':
        model = CLIPTextModel(CLIPTextConfig(**SIZES))
        model.save_pretrained(tmp_path)
        return str(tmp_path), model.eval()
    vision = dict(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, image_size=8, patch_size=4
    )
    whole = CLIPModel(CLIPConfig(text_config=SIZES, vision_config=vision, projection_dim=8))
    whole.save_pretrained(tmp_path)
    return str(tmp_path), CLIPTextModel.from_pretrained(tmp_path).eval()


@pytest.mark.parametrize('stage_ends', [(1, 2, 3, 4), (2, 4, 4), (1, 2)])
def test_same_as_transformers(stage_ends, folder):
    path, model = folder
    encoder = StagedClipText(path, stage_ends, pretrained=path).eval()
    encoder.init_weights()
    real = MASK.bool()
    with torch.no_grad():
        expected = model(IDS, attention_mask=MASK, output_hidden_states=True)
        norm = getattr(model, 'text_model', model).final_layer_norm
        for end, output in zip(stage_ends, staged(encoder), strict=True):
            hidden = expected.hidden_states[end]
            torch.testing.assert_close(output[real], (norm(hidden) if end == stage_ends[-1] else hidden)[real])
            if end == 4:
                torch.testing.assert_close(output[real], expected.last_hidden_state[real])
    staged(encoder)[-1].square().sum().backward()
    assert [name for name, parameter in encoder.named_parameters() if parameter.grad is None] == []


def test_words_see_no_later_ones_and_no_pads():
    encoder = StagedClipText(SIZES, (1, 2, 3, 4)).eval()
    changed = IDS.clone()
    changed[0, 3] = 2
    changed[1, 3:] = 5
    before, after = staged(encoder)[-1], staged(encoder, changed)[-1]
    torch.testing.assert_close(after[0, :3], before[0, :3])
    assert not after[0, 4].allclose(before[0, 4])
    torch.testing.assert_close(after[1, :3], before[1, :3])


def test_mask_of_its_own():
    encoder = StagedClipText(SIZES, (1, 2, 3, 4))
    assert (encoder.mask_token_id, encoder.vocab_size, encoder.max_tokens, encoder.out_channels) == (20, 20, 8, 12)
    assert encoder.embeddings.token_embedding.weight.shape == (20, 12)
    head = MaskGroundingHead(
        12, 8, encoder.vocab_size, encoder.mask_token_id, mask_prob=1.0, unmasked_prob=0.0, num_heads=2
    )
    masked = head.mask_words(IDS, MASK)
    assert masked.input_ids.tolist() == [[18, 20, 20, 20, 19], [18, 20, 19, 19, 19]]
    assert head.classifier[-1].out_features == 20
    words = encoder.stem(masked.input_ids, MASK)
    positions = encoder.embeddings.position_embedding.weight
    torch.testing.assert_close(words[0, 2], encoder.mask_embedding + positions[2])
    torch.testing.assert_close(words[0, 4], encoder.embeddings.token_embedding.weight[19] + positions[4])


def test_mask_that_is_a_word():
    encoder = StagedClipText(SIZES, (4,), mask_token_id=3)
    assert encoder.mask_token_id == 3
    assert encoder.embeddings.token_embedding.weight.shape == (20, 12)


@pytest.mark.parametrize(
    ('changed', 'message'),
    [
        (dict(hidden_size=8), r'embeddings\.token_embedding\.weight has shape \(20, 12\), the config makes \(20, 8\)'),
        (dict(vocab_size=22), r'embeddings\.token_embedding\.weight has shape \(20, 12\), the config makes \(22, 12\)'),
        (dict(num_hidden_layers=5), r'it lacks layers\.4\.\S+ .*partial=True'),
    ],
)
def test_pretrained_of_another_size(changed, message, folder):
    sizes = {**SIZES, **changed}
    encoder = StagedClipText(sizes, (1, sizes['num_hidden_layers']), pretrained=folder[0])
    with pytest.raises(CheckpointError, match=message):
        encoder.init_weights()


@pytest.mark.parametrize('stage_ends', [(1, 5), (3, 2), ()])
def test_refused(stage_ends):
    with pytest.raises(ValueError, match='must not fall, and the encoder has 4 layers'):
        StagedClipText(SIZES, stage_ends)
