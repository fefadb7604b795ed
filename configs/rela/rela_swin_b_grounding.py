# ReLA + Mask Grounding + alignment loss on gRefCOCO; weights five times those for LAVT, as ReLA's own loss is [R].
_base_ = 'rela_swin_b_grefcoco.py'

model = dict(
    auxiliary_head=[
        dict(type='MaskGroundingHead', mask_prob=0.15, extra_masked_pass=False, loss_weight=0.05),
        dict(type='AlignmentHead', loss=dict(type='CrossModalAlignmentLoss', loss_weight=0.075)),
    ]
)
