# LAVT + Mask Grounding.
_base_ = '../lavt_swin_b.py'

model = dict(auxiliary_head=[dict(type='MaskGroundingHead', mask_prob=0.15, extra_masked_pass=False, loss_weight=0.01)])
