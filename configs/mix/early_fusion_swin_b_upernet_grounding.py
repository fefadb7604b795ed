# The plain baseline + Mask Grounding and the cross-modal alignment loss.
_base_ = 'early_fusion_swin_b_upernet.py'

model = dict(
    auxiliary_head=[
        dict(type='MaskGroundingHead', mask_prob=0.15, extra_masked_pass=False, loss_weight=0.01),
        dict(type='AlignmentHead', loss=dict(type='CrossModalAlignmentLoss', loss_weight=0.015)),
    ]
)
