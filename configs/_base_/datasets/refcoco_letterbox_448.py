# refcoco_letterbox.py at 448 x 448 and batch 32, for DETRIS.
_base_ = 'refcoco_letterbox.py'

image_size = 448
train_pipeline, test_pipeline = (
    [{**step, 'size': image_size} if step.type == 'Letterbox' else step for step in pipeline]
    for pipeline in (_base_.train_pipeline, _base_.test_pipeline)
)
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))  # times 4 GPUs = 32
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
