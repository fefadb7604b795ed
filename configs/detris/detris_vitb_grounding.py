# DETRIS + Mask Grounding and the alignment loss.
_base_ = 'detris_vitb_refcoco.py'

model = dict(
    auxiliary_head=[
        dict(type='MaskGroundingHead', mask_prob=0.15, extra_masked_pass=False, loss_weight=1.0),
        dict(type='AlignmentHead', loss=dict(type='CrossModalAlignmentLoss', loss_weight=0.5)),
    ]
)
