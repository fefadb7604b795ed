# What a constant weight of Mask Grounding does, and through which parts of LAVT, for
# tools/analysis_tools/ablation/ablate.py. Where only its head learns, LAVT trains as without it, up to rounding.
splits = ['val', 'testB']
reference = 'LAVT'
seeds = 3


def grounded(loss_weight, *kept_from):
    """A run with a constant weight, whose gradient is kept from some parts of the network."""
    options = {
        'model.auxiliary_head.0.loss_weight': loss_weight,
        'model.auxiliary_head.0.loss_weight_warmup_iters': 0,
    }
    if kept_from:
        options['model.type'] = 'PartlyGrounded'
        options['model.kept_from'] = list(kept_from)
        options['custom_imports.imports'] = ['mmmagnet', 'partly_grounded']
    return dict(config='lavt_grounding.py', options=options)


runs = {
    'LAVT': dict(config='lavt.py'),
    'Mask Grounding, only its head learns': grounded(0.01, 'text_encoder', 'backbone', 'neck'),
    'Mask Grounding, constant weight 0.01': grounded(0.01),
    'Mask Grounding, constant weight 0.1': grounded(0.1),
    '… kept from the text encoder': grounded(0.1, 'text_encoder'),
    '… kept from the image encoder': grounded(0.1, 'backbone'),
}
