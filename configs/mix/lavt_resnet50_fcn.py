# LAVT's one-way fusion under mmseg's plainest pair: a dilated ResNet-50, and FCNHead on its last map.
_base_ = 'lavt_resnet50.py'

model = dict(
    backbone=dict(dilations=(1, 1, 2, 4), strides=(1, 2, 1, 1), contract_dilation=True),
    decode_head=dict(
        _delete_=True,
        type='FCNHead',
        in_index=3,
        channels=512,
        num_classes=2,
        norm_cfg=dict(type='BN'),
        loss_decode=dict(type='CrossEntropyLoss'),
    ),
)
