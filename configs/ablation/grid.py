# The trainings of tools/analysis_tools/ablation/ablate.py: name -> config of this folder, differences from it, and the
# name that it is compared with (`reference` by default). Variants have one seed, so two cores need 100 minutes;
# `--seeds 0 1 2` gives all three. grid_more.py has more variants.
splits = ['val', 'testB']
reference = 'LAVT'
seeds = 3
runs = {
    'LAVT': dict(config='lavt.py'),
    'LAVT + Mask Grounding': dict(config='lavt_grounding.py'),
    'MagNet without Mask Grounding': dict(config='magnet_no_grounding.py', reference='MagNet'),
    'MagNet': dict(config='magnet.py'),
    'LAVT + CAM': dict(config='lavt_cam.py', seeds=1),
    'LAVT + alignment loss': dict(config='lavt_alignment.py', seeds=1),
    'LAVT + Mask Grounding, ratio 0.3': dict(
        config='lavt_grounding.py',
        seeds=1,
        options={'model.auxiliary_head.0.mask_prob': 0.3},
        reference='LAVT + Mask Grounding',
    ),
    'LAVT + Mask Grounding, ratio 0.15': dict(
        config='lavt_grounding.py',
        seeds=1,
        options={'model.auxiliary_head.0.mask_prob': 0.15},
        reference='LAVT + Mask Grounding',
    ),
    'LAVT + Mask Grounding, ratio 0.15, one pass': dict(
        config='lavt_grounding.py',
        seeds=1,
        options={'model.auxiliary_head.0.mask_prob': 0.15, 'model.auxiliary_head.0.extra_masked_pass': False},
        reference='LAVT + Mask Grounding, ratio 0.15',
    ),
    'LAVT + Mask Grounding, ratio 0.15, weight 0.003': dict(
        config='lavt_grounding.py',
        seeds=1,
        options={'model.auxiliary_head.0.mask_prob': 0.15, 'model.auxiliary_head.0.loss_weight': 0.003},
        reference='LAVT + Mask Grounding, ratio 0.15',
    ),
    'LAVT + Mask Grounding, ratio 0.15, weight 0.03': dict(
        config='lavt_grounding.py',
        seeds=1,
        options={'model.auxiliary_head.0.mask_prob': 0.15, 'model.auxiliary_head.0.loss_weight': 0.03},
        reference='LAVT + Mask Grounding, ratio 0.15',
    ),
    'LAVT + Mask Grounding, ratio 0.15, weight not growing': dict(
        config='lavt_grounding.py',
        seeds=1,
        options={'model.auxiliary_head.0.mask_prob': 0.15, 'model.auxiliary_head.0.loss_weight_warmup_iters': 0},
        reference='LAVT + Mask Grounding, ratio 0.15',
    ),
    'MagNet, text side as released': dict(
        config='magnet.py',
        seeds=1,
        options={'model.neck.official_compat': True, 'model.data_preprocessor.trim_words': False},
        reference='MagNet',
    ),
}
