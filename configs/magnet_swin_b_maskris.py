# MagNet trained with MaskRIS; Mask Grounding reads the masked run, so the two share it [R].
_base_ = 'magnet_swin_b.py'

model = dict(
    self_distillation=dict(type='MaskRIS', class_weight=(1.0, 1.0)),
    auxiliary_head=[
        dict(type='MaskGroundingHead', mask_prob=0.15, extra_masked_pass=True, loss_weight=1.0),
        dict(type='AlignmentHead', loss=dict(type='CrossModalAlignmentLoss', loss_weight=0.5)),
    ],
)
