# RefCOCO's protocol on gRefCOCO (unc), whose expressions mean several objects, one, or none: masks may be empty.
_base_ = 'refcoco.py'

data_root = 'data/grefcoco_unc'

train_pipeline = [
    dict(type='LoadImageFromFile', color_type='color_ignore_orientation', imdecode_backend='pillow'),
    dict(type='LoadReferringMask', allow_empty=True),
    dict(type='Resize', scale=_base_.image_size, keep_ratio=False, backend='pillow'),
    dict(type='SampleExpression'),
    dict(type='TokenizeExpression', tokenizer=_base_.tokenizer, max_length=20),
    dict(type='PackReferringInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile', color_type='color_ignore_orientation', imdecode_backend='pillow'),
    dict(type='Resize', scale=_base_.image_size, keep_ratio=False, backend='pillow'),
    dict(type='LoadReferringMask', allow_empty=True),
    dict(type='SampleExpression'),
    dict(type='TokenizeExpression', tokenizer=_base_.tokenizer, max_length=20),
    dict(type='PackReferringInputs'),
]

train_dataloader = dict(dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(data_root=data_root, pipeline=test_pipeline))
