# CARIS + Mask Grounding + alignment loss; weights as for LAVT, whose loss is the same [R].
_base_ = 'caris_swin_b_refcoco.py'

model = dict(
    auxiliary_head=[
        dict(type='MaskGroundingHead', mask_prob=0.15, extra_masked_pass=False, loss_weight=0.01),
        dict(type='AlignmentHead', loss=dict(type='CrossModalAlignmentLoss', loss_weight=0.015)),
    ]
)
