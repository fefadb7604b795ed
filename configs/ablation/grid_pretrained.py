# Mask Grounding with encoders that are trained already, on expressions of two objects (synthetic.py --level relations),
# for tools/analysis_tools/ablation/ablate.py. Words: MiniLM (pip install '.[custom]'). Images: lavt_objects.py.
splits = ['val', 'testB']
reference = 'LAVT'
seeds = 3
trained = {
    'model.backbone.init_cfg': dict(
        type='Pretrained', checkpoint='work_dirs/lavt_objects/epoch_2.pth', prefix='backbone'
    )
}
paper = {
    'model.auxiliary_head.0.extra_masked_pass': False,
    'model.auxiliary_head.0.mask_prob': 0.15,
    'model.auxiliary_head.0.loss_weight': 0.03,
    'model.auxiliary_head.0.loss_weight_warmup_iters': 0,
}
runs = {
    'LAVT': dict(config='lavt_minilm.py', options=trained),
    'LAVT + Mask Grounding': dict(config='lavt_minilm_grounding.py', options=trained),
    'LAVT + Mask Grounding as in the paper': dict(config='lavt_minilm_grounding.py', options={**trained, **paper}),
}
