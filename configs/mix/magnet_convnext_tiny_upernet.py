# ConvNeXt-T with UPerHead, mmseg's usual pair, with MagNet's bridges to BERT and its training heads.
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
    )
)
