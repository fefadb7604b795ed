# LAVT (arXiv 2112.02244) as a configuration of MagNet's parts: BERT runs before the first fusion, which goes one way.
_base_ = 'magnet_base.py'

model = dict(
    text_encoder=dict(stage_ends=(12, 12, 12, 12)),
    neck=dict(pool_sizes=(), bidirectional=False, norm='instance', gate_activation='relu'),
    decode_head=dict(
        _delete_=True,
        type='LAVTHead',
        loss_decode=dict(type='CEDiceLoss', ce_weight=1.0, dice_weight=0.0, class_weight=(0.9, 1.1)),
    ),
    auxiliary_head=[],
)
