# grid.py with further variants.
_base_ = ['grid.py']

runs = {
    'LAVT + alignment loss, weight 0.5': dict(
        config='lavt_alignment.py',
        seeds=1,
        options={'model.auxiliary_head.0.loss.loss_weight': 0.5},
        reference='LAVT + alignment loss',
    ),
    'LAVT + Mask Grounding, weight 0.003': dict(
        config='lavt_grounding.py',
        seeds=1,
        options={'model.auxiliary_head.0.loss_weight': 0.003},
        reference='LAVT + Mask Grounding',
    ),
    'LAVT + Mask Grounding, weight 1': dict(
        config='lavt_grounding.py',
        seeds=1,
        options={'model.auxiliary_head.0.loss_weight': 1.0},
        reference='LAVT + Mask Grounding',
    ),
    'MagNet, joint': dict(
        config='magnet.py', seeds=1, options={'model.auxiliary_head.0.forward_mode': 'joint'}, reference='MagNet'
    ),
    'MagNet, alignment weight 0.1': dict(
        config='magnet.py', seeds=1, options={'model.auxiliary_head.1.loss.loss_weight': 0.1}, reference='MagNet'
    ),
}
