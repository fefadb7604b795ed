# Written by tools/dataset_converters/synthetic.py; it carries its own vocabulary, so no hub is needed.
data_root = 'data/synthetic_easy'
image_size = (64, 64)
tokenizer = 'package://mmmagnet/datasets/synthetic/tokenizer'

train_pipeline = [
    dict(type='LoadImageFromFile', color_type='color_ignore_orientation', imdecode_backend='pillow'),
    dict(type='LoadReferringMask'),
    dict(type='Resize', scale=image_size, keep_ratio=False, backend='pillow'),
    dict(type='SampleExpression'),
    dict(type='TokenizeExpression', tokenizer=tokenizer, max_length=20),
    dict(type='PackReferringInputs'),
]
# the mask is loaded after the resize: it keeps the original size, and the metric brings it to the scored resolution
test_pipeline = [
    dict(type='LoadImageFromFile', color_type='color_ignore_orientation', imdecode_backend='pillow'),
    dict(type='Resize', scale=image_size, keep_ratio=False, backend='pillow'),
    dict(type='LoadReferringMask'),
    dict(type='SampleExpression'),
    dict(type='TokenizeExpression', tokenizer=tokenizer, max_length=20),
    dict(type='PackReferringInputs'),
]

train_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='EpochSampler', shuffle=True),
    dataset=dict(type='RefCOCODataset', data_root=data_root, split='train', pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='RefCOCODataset', data_root=data_root, split='val', test_mode=True, pipeline=test_pipeline),
)
test_dataloader = dict(
    batch_size=64,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='RefCOCODataset', data_root=data_root, split='testA', test_mode=True, pipeline=test_pipeline),
)
val_evaluator = dict(type='ReferringSegMetric', resolution='input')
test_evaluator = dict(type='ReferringSegMetric', resolution='input')
