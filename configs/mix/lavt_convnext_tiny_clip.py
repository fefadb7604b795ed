# LAVT of other parts: mmpretrain's ConvNeXt-T and CLIP's text transformer, run whole before the first bridge.
_base_ = 'magnet_clip.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.ConvNeXt',
        arch='tiny',
        out_indices=(0, 1, 2, 3),
        gap_before_final_norm=False,
        drop_path_rate=0.2,
    ),
    text_encoder=dict(stage_ends=(12, 12, 12, 12)),
    neck=dict(pool_sizes=(), text_side=False, norm='instance', gate_activation='relu'),
    decode_head=dict(_delete_=True, type='LAVTHead'),
    auxiliary_head=[],
)
