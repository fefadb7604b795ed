# ConvNeXt-T with UPerHead, mmseg's usual pair, with MagNet's alignment modules to BERT and its auxiliary heads.
_base_ = 'magnet_convnext_tiny.py'

model = dict(
    decode_head=dict(
        _delete_=True,
        type='UPerHead',
        in_index=(0, 1, 2, 3),
        channels=512,
        num_classes=2,
        norm_cfg=dict(type='BN'),
        loss_decode=dict(type='CrossEntropyLoss'),
    ),
    # beside a cross entropy; MagNetHead's mask losses are thirty times as large
    auxiliary_head=[
        dict(type='MaskGroundingHead', mask_prob=0.15, extra_masked_pass=False, loss_weight=0.01),
        dict(type='AlignmentHead', loss=dict(type='CrossModalAlignmentLoss', loss_weight=0.015)),
    ],
)
