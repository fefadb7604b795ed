# A plain baseline: the expression as a whole conditions every stage of Swin, mmseg's UPerHead decodes.
_base_ = '../lavt_swin_b.py'

model = dict(
    neck=dict(_delete_=True, type='FiLMFusion'),
    decode_head=dict(
        _delete_=True,
        type='UPerHead',
        in_index=(0, 1, 2, 3),
        channels=256,
        num_classes=2,
        norm_cfg=dict(type='BN'),
        loss_decode=dict(type='CrossEntropyLoss'),
    ),
)
