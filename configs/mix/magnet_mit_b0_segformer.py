# SegFormer that reads: MiT-B0, MagNet's bridges to BERT and its training heads, mmseg's SegformerHead.
_base_ = 'magnet_mit_b0.py'

model = dict(
    decode_head=dict(
        _delete_=True,
        type='SegformerHead',
        in_index=(0, 1, 2, 3),
        channels=256,
        num_classes=2,
        norm_cfg=dict(type='BN'),
        loss_decode=dict(type='CrossEntropyLoss'),
    )
)
