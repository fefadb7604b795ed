# RefCOCO as CRIS takes it: letterboxed to 416 x 416, `sent` as text, 17 tokens of CLIP's with the end token kept and 0
# as pad; scored at the size of the image.
data_root = 'data/refcoco_unc'
image_size = 416
words = dict(
    type='TokenizeExpression',
    tokenizer='openai/clip-vit-base-patch16',
    max_length=17,
    keep_end=True,
    pad_token_id=0,
)

train_pipeline = [
    dict(type='LoadImageFromFile', color_type='color_ignore_orientation', imdecode_backend='pillow'),
    dict(type='LoadReferringMask'),
    dict(type='Letterbox', size=image_size),
    dict(type='SampleExpression'),
    words,
    dict(type='PackReferringInputs'),
]
# the mask is loaded after the letterbox: it keeps the original size
test_pipeline = [
    dict(type='LoadImageFromFile', color_type='color_ignore_orientation', imdecode_backend='pillow'),
    dict(type='Letterbox', size=image_size),
    dict(type='LoadReferringMask'),
    dict(type='SampleExpression'),
    words,
    dict(type='PackReferringInputs'),
]

dataset = dict(type='RefCOCODataset', data_root=data_root, text_field='sent')
train_dataloader = dict(
    batch_size=8,  # times 8 GPUs = 64
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='EpochSampler', shuffle=True),
    dataset=dict(split='train', pipeline=train_pipeline, **dataset),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(split='val', test_mode=True, pipeline=test_pipeline, **dataset),
)
test_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(split='testA', test_mode=True, pipeline=test_pipeline, **dataset),
)
val_evaluator = dict(type='ReferringSegMetric', resolution='original')
test_evaluator = dict(type='ReferringSegMetric', resolution='original')
