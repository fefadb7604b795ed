# The network that the authors' released RefCOCO checkpoint belongs to, its two text-side defects included: for scoring
# such a checkpoint and training on from it. tools/model_converters/official.py makes the checkpoint.
_base_ = 'magnet_swin_b.py'

model = dict(data_preprocessor=dict(trim_words=False), neck=dict(official_compat=True))
