# LAVT + Mask Grounding. A weight of 0.01 is relative to LAVT's cross entropy what 0.3 is relative to MagNet's mask
# losses. It grows over the whole training, so that a text encoder without pretraining learns from the masks first
# (docs/ablation.md).
_base_ = 'lavt.py'

settings = dict(mask_prob=0.5, extra_masked_pass=True, loss_weight=0.01, loss_weight_warmup_iters=900)
model = dict(
    auxiliary_head=[dict(type='MaskGroundingHead', **_base_.small_predictor, **settings)],
)
