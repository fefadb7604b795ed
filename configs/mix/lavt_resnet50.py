# LAVT with mmseg's ResNet-50 as image encoder.
_base_ = '../lavt_swin_b.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='ResNetV1c',
        depth=50,
        init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://resnet50_v1c'),
    )
)
