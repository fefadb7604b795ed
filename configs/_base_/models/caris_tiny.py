# CARIS in miniature, with the encoders of magnet_tiny.py.
_base_ = 'magnet_tiny.py'

model = dict(
    encoding='image_first',
    data_preprocessor=dict(share_images=True),
    text_encoder=dict(stage_ends=(4,)),
    neck=dict(_delete_=True, type='ImagePrompts'),
    decode_head=dict(
        _delete_=True,
        type='CARISHead',
        feat_channels=64,
        num_groups=8,
        num_layers=2,
        num_heads=4,
        num_points=2,
        loss_decode=dict(type='CEDiceLoss', ce_weight=1.0, dice_weight=0.0, class_weight=(0.9, 1.1)),
    ),
    auxiliary_head=[],
)
