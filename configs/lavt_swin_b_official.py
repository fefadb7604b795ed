# LAVT by its authors' protocol, for their released checkpoint: a pixel under two outlines of an object is background.
_base_ = 'lavt_swin_b.py'

test_pipeline = [
    {**step, 'overlap': 'odd'} if step.type == 'LoadReferringMask' else step for step in _base_.test_pipeline
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
