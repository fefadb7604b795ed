# LAVT with a pretrained text encoder + Mask Grounding with the settings of lavt_grounding.py.
_base_ = 'lavt_minilm.py'

settings = dict(mask_prob=0.5, extra_masked_pass=True, loss_weight=0.01, loss_weight_warmup_iters=900)
model = dict(
    auxiliary_head=[dict(type='MaskGroundingHead', **_base_.small_predictor, **settings)],
)
