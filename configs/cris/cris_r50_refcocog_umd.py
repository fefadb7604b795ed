# CRIS on RefCOCOg (umd): 22 tokens.
_base_ = 'cris_r50_refcoco.py'

data_root = 'data/refcocog_umd'
train_pipeline, test_pipeline = (
    [{**step, 'max_length': 22} if step.type == 'TokenizeExpression' else step for step in pipeline]
    for pipeline in (_base_.train_pipeline, _base_.test_pipeline)
)
train_dataloader = dict(dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(data_root=data_root, pipeline=test_pipeline, split='test'))
