# LAVT of other parts: mmpretrain's ConvNeXt-T and CLIP's text transformer, run whole before the first fusion.
_base_ = 'magnet_clip.py'

weights = 'https://mmassets.onedl.ai/mmclassification/v0/convnext/downstream/'
weights += 'convnext-tiny_3rdparty_32xb128-noema_in1k_20220301-795e9634.pth'
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.ConvNeXt',
        arch='tiny',
        out_indices=(0, 1, 2, 3),
        gap_before_final_norm=False,
        drop_path_rate=0.2,
        init_cfg=dict(type='Pretrained', checkpoint=weights, prefix='backbone.'),
    ),
    text_encoder=dict(stage_ends=(12, 12, 12, 12)),
    neck=dict(pool_sizes=(), bidirectional=False, norm='instance', gate_activation='relu'),
    decode_head=dict(_delete_=True, type='LAVTHead'),
    auxiliary_head=[],
)
