"""The alignment head, against its formula."""

import torch

from mmmagnet.models.aux_heads import AlignmentHead, AuxiliaryInputs


def given(words, word_mask, features, truth):
    image = torch.zeros(len(words), 1, 1, 1)
    return AuxiliaryInputs(words=words, word_mask=word_mask, image=image, gt_masks=truth, mask_features=features)


class _Recorder(torch.nn.Module):
    """Keeps what the loss is given."""

    def forward(self, *given):
        self.given = given
        return torch.zeros(())


def test_what_the_loss_is_given():
    head = AlignmentHead(text_channels=6, feat_channels=4, loss=dict(type=_Recorder))
    words, features = torch.randn(2, 5, 6), torch.randn(2, 4, 2, 3)
    word_mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    truth = torch.zeros(2, 1, 4, 6, dtype=torch.uint8)
    truth[0, 0, :2, :3] = 1  # all of one feature, half of the next
    truth[0, 0, 2, 5] = 1  # a quarter of one
    truth[1, 0] = 255
    truth[1, 0, 3, 2:6] = 1
    losses = head.loss(given(words, word_mask, features, truth))
    assert losses.keys() == {'loss_align'}

    pixels, expression, inside, outside = head.align.given
    torch.testing.assert_close(pixels, features.permute(0, 2, 3, 1).reshape(2, 6, 4))
    projected = words @ head.word_proj.weight.T + head.word_proj.bias
    torch.testing.assert_close(expression, torch.stack([projected[0].mean(0), projected[1, :3].mean(0)]))
    assert inside.tolist() == [[True, True, False, False, False, False], [False, False, False, False, True, True]]
    assert outside.tolist() == [[False, False, True, True, True, True], 6 * [False]]  # half unknown: in neither


def test_default_loss():
    head = AlignmentHead(6, 4)
    truth = torch.zeros(1, 1, 4, 4, dtype=torch.uint8)
    truth[0, 0, :2] = 1
    words, features = torch.randn(1, 3, 6), torch.randn(1, 4, 4, 4)
    word_mask = torch.tensor([[1, 1, 0]])
    expression = head.word_proj(words[:, :2]).mean(1)
    expected = head.align(features.flatten(2).transpose(1, 2), expression, truth.flatten(1) == 1)
    torch.testing.assert_close(head.loss(given(words, word_mask, features, truth))['loss_align'], expected)
    assert head.align.loss_weight == 0.5
