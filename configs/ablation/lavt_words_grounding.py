# LAVT with a pretrained text tower + Mask Grounding, as lavt_grounding.py has it.
_base_ = 'lavt_words.py'

settings = dict(mask_ratio=0.5, forward_mode='separate', loss_weight=0.01, warmup_iters=900)
model = dict(
    auxiliary_head=[dict(type='MaskGroundingHead', num_layers=2, num_heads=4, dropout=0.0, **settings)],
)
