# refcoco.py at 448 x 448, with the cleaned field `sent` as text, for a batch of 16 on two GPUs.
_base_ = 'refcoco.py'

image_size = (448, 448)
train_pipeline = [{**step, 'scale': image_size} if step.type == 'Resize' else step for step in _base_.train_pipeline]
test_pipeline = [{**step, 'scale': image_size} if step.type == 'Resize' else step for step in _base_.test_pipeline]
train_dataloader = dict(
    batch_size=8,  # times 2 GPUs = 16
    drop_last=True,
    dataset=dict(text_field='sent', pipeline=train_pipeline),
)
val_dataloader = dict(dataset=dict(text_field='sent', pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(text_field='sent', pipeline=test_pipeline))
