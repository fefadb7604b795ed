# MagNet on RefCOCO (unc) with what the published recipe leaves out: other light, mirrored images, several sizes.
_base_ = 'magnet_swin_b.py'

train_pipeline = [
    *_base_.train_pipeline[:4],  # loaded, squashed, an expression drawn
    # hues stay what expressions call them
    dict(type='PhotoMetricDistortion', contrast_range=(0.75, 1.25), saturation_range=(0.75, 1.25), hue_delta=2),
    dict(type='ReferringRandomFlip', prob=0.5),
    *_base_.train_pipeline[4:],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
model = dict(data_preprocessor=dict(type='MultiSizePreProcessor', sizes=(384, 416, 448, 480)))
