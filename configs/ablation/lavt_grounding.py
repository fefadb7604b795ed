# LAVT + Mask Grounding. A weight of 0.01 is to LAVT's cross entropy what 0.3 is to MagNet's mask losses. It grows over
# the whole training: a text encoder that learns from nothing is taught by the masks first (docs/ablation.md).
_base_ = 'lavt.py'

settings = dict(mask_prob=0.5, extra_masked_pass=True, loss_weight=0.01, loss_weight_warmup_iters=900)
model = dict(
    auxiliary_head=[dict(type='MaskGroundingHead', num_layers=2, num_heads=4, dropout=0.0, **settings)],
)
