"""The whole network in training, in miniature: which parameters learn, and that they do."""

import re

import pytest
import torch

from mmmagnet.models.aux_heads import mask_grounding_head
from mmmagnet.models.aux_heads.mask_grounding_head import mask_centre
from mmmagnet.registry import MODELS


def build(config, **grounding):
    torch.manual_seed(0)
    if grounding:
        config['auxiliary_head'][0].update(grounding)
    return MODELS.build(config)


def matches(name, patterns):
    return any(re.search(pattern, name) for pattern in patterns)


def total(losses):
    return sum(value for name, value in losses.items() if 'loss' in name)


# what no gradient reaches, whatever the auxiliary heads
NEVER = [
    r'self_attention\.in_proj_(weight|bias)\[[qk]\]',  # a single query attends to itself whatever it asks
    r'(in_proj_bias|qkv\.bias)\[k\]',  # a key's bias shifts all similarities alike
    r'(?<!text_attention)\.key\.bias',
    r'text_attention\.out\.bias',  # followed by a norm over tokens, which takes constants away
]
# what is frozen: the 2-way class head, and biases that norms undo
FROZEN = [r'class_embed', r'text_attention\.(key|value)\.bias']
# and where the mask losses are alone: alignment module 4's text side and image gate
UNREAD = [r'neck\.stages\.3\.(text_attention|text_gate|gate)\.']
ROUNDING = 1e-10


def train(model, batch, steps):
    """Name of each parameter, fused ones split into [q], [k] and [v] -> largest gradient over some steps, or None."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    largest = {}
    for _ in range(steps):
        optimizer.zero_grad()
        total(model.loss(*batch)).backward()
        for name, parameter in model.named_parameters():
            if parameter.grad is None:
                largest.setdefault(name, None)
                continue
            split = parameter.grad.chunk(3) if re.search(r'(in_proj_(weight|bias)|qkv\.(weight|bias))$', name) else None
            parts = {f'{name}[{part}]': grad for part, grad in zip('qkv', split or (), strict=bool(split))}
            for key, grad in (parts or {name: parameter.grad}).items():
                largest[key] = max(largest.get(key) or 0.0, grad.abs().max().item())
        optimizer.step()
    return largest


@pytest.mark.parametrize(
    ('auxiliary', 'mode'),
    [(True, False), (True, True), (False, None)],
    ids=['joint', 'separate', 'masks alone'],
)
def test_which_parameters_learn(auxiliary, mode, tiny_config, tiny_batch, monkeypatch):
    if not auxiliary:
        del tiny_config['auxiliary_head']
    model = build(tiny_config, **({'extra_masked_pass': mode} if mode is not None else {}))
    # in double precision, where rounding is far from any gradient
    monkeypatch.setattr(mask_grounding_head, 'mask_centre', lambda masks: mask_centre(masks).double())
    inputs, samples = tiny_batch(batch=4)
    largest = train(model.double(), (inputs.double(), samples), steps=3)
    frozen = [name for name, weight in model.named_parameters() if not weight.requires_grad]
    assert frozen == [
        name for name, _ in model.named_parameters() if matches(name, FROZEN if auxiliary else FROZEN + UNREAD)
    ]
    assert frozen == [name for name, value in largest.items() if value is None], 'DDP waits for every other gradient'
    largest = {name: value for name, value in largest.items() if value is not None}
    patterns = NEVER
    still = {name for name in largest if matches(name, patterns)}
    for pattern in patterns:
        assert any(re.search(pattern, name) for name in largest), f'{pattern} matches nothing'
    assert {name: value for name, value in largest.items() if name in still and value > ROUNDING} == {}
    assert {name: value for name, value in largest.items() if name not in still and value < 100 * ROUNDING} == {}


def test_text_gates_open(tiny_config, tiny_batch):
    """They start shut, at zero; unlike those of the release they have a gradient."""
    model = build(tiny_config)
    assert all(not fusion.text_gate.outer.weight.any() for fusion in model.neck.stages)
    train(model, tiny_batch(), steps=3)
    assert all(fusion.text_gate.outer.weight.norm() > 1e-2 for fusion in model.neck.stages)


def test_text_gates_of_the_release_stay_shut(tiny_config, tiny_batch):
    tiny_config['neck']['official_compat'] = True
    model = build(tiny_config)
    train(model, tiny_batch(), steps=3)
    assert all(not fusion.text_gate.outer.weight.any() for fusion in model.neck.stages)


def test_it_learns(tiny_config, tiny_batch):
    model = build(tiny_config)
    batch = tiny_batch()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    history = []
    for _ in range(30):
        optimizer.zero_grad()
        losses = model.loss(*batch)
        total(losses).backward()
        optimizer.step()
        history.append((losses['decode.loss_bce'] + losses['decode.loss_dice']).item())
    assert history[-1] < 0.6 * history[0]


@pytest.mark.parametrize(('with_cp', 'size'), [(False, 56), (True, 72)])
def test_training_after_inference_mode(tiny_config, tiny_batch, with_cp, size):
    """What layers keep between calls may have been made in inference mode."""
    for part in ('backbone', 'text_encoder', 'neck', 'decode_head'):
        tiny_config[part]['with_cp'] = with_cp
    model = build(tiny_config)
    inputs, samples = tiny_batch(size=size)  # one that no other test uses
    with torch.inference_mode():
        model.predict(inputs, samples)
    inputs, samples = tiny_batch(size=size)
    total(model.loss(inputs, samples)).backward()


def test_mixed_precision(tiny_config, tiny_batch):
    model = build(tiny_config)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = model.loss(*tiny_batch())
    total(losses).backward()
    assert all(value.isfinite() for value in losses.values())
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.requires_grad)
