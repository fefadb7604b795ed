# Where Mask Grounding does harm: its weight does not grow, and its gradient is kept from some parts of LAVT, for
# tools/analysis_tools/ablation/ablate.py.
splits = ['val', 'testB']
reference = 'LAVT'
seeds = 3
harmful = {'model.auxiliary_head.0.loss_weight_warmup_iters': 0}
partly = {**harmful, 'model.type': 'PartlyGrounded', 'custom_imports.imports': ['mmmagnet', 'partly_grounded']}
runs = {
    'LAVT': dict(config='lavt.py'),
    'LAVT + Mask Grounding, not growing': dict(config='lavt_grounding.py', options=harmful),
    '… kept from the text encoder': dict(
        config='lavt_grounding.py', options={**partly, 'model.kept_from': ['text_encoder']}
    ),
    '… kept from the image encoder': dict(
        config='lavt_grounding.py', options={**partly, 'model.kept_from': ['backbone']}
    ),
    '… kept from both and their fusion': dict(
        config='lavt_grounding.py', options={**partly, 'model.kept_from': ['text_encoder', 'backbone', 'neck']}
    ),
}
