# The network of the authors' checkpoint trained on all sets: as magnet_swin_b_official.py, at 448 x 448. Other sets are
# scored with --data-root.
_base_ = 'magnet_swin_b_official.py'

image_size = (448, 448)
train_pipeline = [{**step, 'scale': image_size} if step.type == 'Resize' else step for step in _base_.train_pipeline]
test_pipeline = [{**step, 'scale': image_size} if step.type == 'Resize' else step for step in _base_.test_pipeline]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
