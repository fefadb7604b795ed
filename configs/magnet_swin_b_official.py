# The network that the authors' released RefCOCO checkpoint belongs to, its two text-side defects included: for scoring
# such a checkpoint and training on from it. tools/model_converters/official.py makes the checkpoint. Scores are by the
# authors' protocol, in which a pixel under two outlines of an object is background.
_base_ = 'magnet_swin_b.py'

model = dict(data_preprocessor=dict(trim_words=False), neck=dict(official_compat=True))

test_pipeline = [
    {**step, 'overlap': 'odd'} if step.type == 'LoadReferringMask' else step for step in _base_.test_pipeline
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
