# CARIS (doi 10.1145/3581783.3612117): the image encoder runs first, and five prompts tell BERT of the image.
_base_ = 'magnet_base.py'

model = dict(
    encoding='image_first',
    data_preprocessor=dict(share_images=True),
    backbone=dict(window_size=7, pretrained='pretrained/swin_base_patch4_window7_224_22k.pth'),
    text_encoder=dict(stage_ends=(12,)),
    neck=dict(_delete_=True, type='ImagePrompts'),
    decode_head=dict(
        _delete_=True,
        type='CARISHead',
        loss_decode=dict(type='CEDiceLoss', ce_weight=1.0, dice_weight=0.0, class_weight=(0.9, 1.1)),
    ),
    auxiliary_head=[],
)
