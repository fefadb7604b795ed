# grid.py with further variants. Variants with pretrained words need `pip install '.[custom]'`.
_base_ = ['grid.py']

runs = {
    'LAVT, pretrained words': dict(config='lavt_minilm.py', seeds=1),
    'LAVT, pretrained words + Mask Grounding': dict(
        config='lavt_minilm_grounding.py', seeds=1, reference='LAVT, pretrained words'
    ),
    'LAVT, pretrained words + Mask Grounding, weight 0.1': dict(
        config='lavt_minilm_grounding.py',
        seeds=1,
        options={'model.auxiliary_head.0.loss_weight': 0.1},
        reference='LAVT, pretrained words',
    ),
    'LAVT, pretrained words + Mask Grounding as in the paper': dict(
        config='lavt_minilm_grounding.py',
        seeds=1,
        options={
            'model.auxiliary_head.0.extra_masked_pass': False,
            'model.auxiliary_head.0.mask_prob': 0.15,
            'model.auxiliary_head.0.loss_weight': 0.03,
            'model.auxiliary_head.0.loss_weight_warmup_iters': 0,
        },
        reference='LAVT, pretrained words',
    ),
    'LAVT + Mask Grounding, weight 0.1': dict(
        config='lavt_grounding.py',
        seeds=1,
        options={'model.auxiliary_head.0.loss_weight': 0.1},
        reference='LAVT + Mask Grounding',
    ),
    'LAVT + Mask Grounding, weight not growing': dict(
        config='lavt_grounding.py', seeds=1, options={'model.auxiliary_head.0.loss_weight_warmup_iters': 0}
    ),
    'LAVT + Mask Grounding, weight 0.1 not growing': dict(
        config='lavt_grounding.py',
        seeds=1,
        options={'model.auxiliary_head.0.loss_weight': 0.1, 'model.auxiliary_head.0.loss_weight_warmup_iters': 0},
    ),
    'LAVT + Mask Grounding, six layers': dict(
        config='lavt_grounding.py',
        seeds=1,
        options={'model.auxiliary_head.0.num_layers': 6},
        reference='LAVT + Mask Grounding',
    ),
    'LAVT + alignment loss, weight 0.05': dict(
        config='lavt_alignment.py',
        seeds=1,
        options={'model.auxiliary_head.0.loss.loss_weight': 0.05},
        reference='LAVT + alignment loss',
    ),
    'LAVT + alignment loss, weight 0.5': dict(
        config='lavt_alignment.py',
        seeds=1,
        options={'model.auxiliary_head.0.loss.loss_weight': 0.5},
        reference='LAVT + alignment loss',
    ),
    'MagNet, ratio 0.15': dict(
        config='magnet.py', seeds=1, options={'model.auxiliary_head.0.mask_prob': 0.15}, reference='MagNet'
    ),
    'MagNet, ratio 0.15, weight not growing': dict(
        config='magnet.py',
        seeds=1,
        options={'model.auxiliary_head.0.mask_prob': 0.15, 'model.auxiliary_head.0.loss_weight_warmup_iters': 0},
        reference='MagNet, ratio 0.15',
    ),
    'MagNet, Mask Grounding of weight 1': dict(
        config='magnet.py', seeds=1, options={'model.auxiliary_head.0.loss_weight': 1.0}, reference='MagNet'
    ),
    'MagNet, one pass': dict(
        config='magnet.py', seeds=1, options={'model.auxiliary_head.0.extra_masked_pass': False}, reference='MagNet'
    ),
    'MagNet, alignment weight 0.1': dict(
        config='magnet.py', seeds=1, options={'model.auxiliary_head.1.loss.loss_weight': 0.1}, reference='MagNet'
    ),
}
