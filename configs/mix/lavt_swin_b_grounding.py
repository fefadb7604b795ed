# LAVT + Mask Grounding.
_base_ = '../lavt_swin_b.py'

model = dict(auxiliary_head=[dict(type='MaskGroundingHead', mask_ratio=0.15, forward_mode='joint', loss_weight=0.01)])
