# Prepared by tools/dataset_converters/refer.py; docs in README. Squashed to a square, no flip, 20 tokens.
data_root = 'data/refcoco_unc'
image_size = (480, 480)
tokenizer = 'bert-base-uncased'

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
    batch_size=8,  # times 4 GPUs = 32
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='EpochSampler', shuffle=True),
    dataset=dict(type='RefCOCODataset', data_root=data_root, split='train', pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='RefCOCODataset', data_root=data_root, split='val', test_mode=True, pipeline=test_pipeline),
)
test_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='RefCOCODataset', data_root=data_root, split='testA', test_mode=True, pipeline=test_pipeline),
)
val_evaluator = dict(type='ReferringSegMetric', resolution='input')
test_evaluator = dict(type='ReferringSegMetric', resolution='input')
