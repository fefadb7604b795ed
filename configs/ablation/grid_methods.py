# Every network as it is, with Mask Grounding, and with MaskRIS, for tools/analysis_tools/ablation/ablate.py. Mask
# Grounding has about the same share of the loss in every network.
splits = ['val', 'testB']
reference = 'LAVT'
seeds = 3
predictor = dict(num_layers=2, num_heads=4, width=None, ffn_width=None, bert_style=False, dropout=0.0)
growing = dict(mask_prob=0.5, extra_masked_pass=True, loss_weight_warmup_iters=900)
grounding = dict(type='MaskGroundingHead', **predictor, **growing)
grounded = {'model.auxiliary_head': [dict(grounding, loss_weight=0.01)]}
alike = {'model.self_distillation': dict(type='MaskRIS', patch_size=8)}
equal = {'model.self_distillation': dict(type='MaskRIS', patch_size=8, class_weight=(1.0, 1.0))}
runs = {
    'LAVT': dict(config='lavt.py'),
    'LAVT + Mask Grounding': dict(config='lavt_grounding.py'),
    'LAVT + MaskRIS': dict(config='lavt.py', options=alike),
    'MagNet without Mask Grounding': dict(config='magnet_no_grounding.py'),
    'MagNet': dict(config='magnet.py', reference='MagNet without Mask Grounding'),
    'MagNet without Mask Grounding + MaskRIS': dict(
        config='magnet_no_grounding.py', options=alike, reference='MagNet without Mask Grounding'
    ),
    'ReLA': dict(config='rela.py'),
    'ReLA + Mask Grounding': dict(
        config='rela.py', options={'model.auxiliary_head': [dict(grounding, loss_weight=0.05)]}, reference='ReLA'
    ),
    'ReLA + MaskRIS': dict(config='rela.py', options=alike, reference='ReLA'),
    'CARIS': dict(config='caris.py'),
    'CARIS + Mask Grounding': dict(config='caris.py', options=grounded, reference='CARIS'),
    'CARIS + MaskRIS': dict(config='caris.py', options=alike, reference='CARIS'),
    'CRIS': dict(config='cris.py', seeds=1),
    'CRIS + Mask Grounding': dict(config='cris.py', options=grounded, reference='CRIS', seeds=1),
    'CRIS + MaskRIS': dict(config='cris.py', options=equal, reference='CRIS', seeds=1),
    'DETRIS': dict(config='detris.py', seeds=1),
    'DETRIS + Mask Grounding': dict(config='detris.py', options=grounded, reference='DETRIS', seeds=1),
    'DETRIS + MaskRIS': dict(config='detris.py', options=equal, reference='DETRIS', seeds=1),
}
