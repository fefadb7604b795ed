# The network of the released checkpoints, which tools/model_converters/official.py converts. Regions read padded words
# too, and the mask is never emptied.
_base_ = 'rela_swin_b_grefcoco.py'

model = dict(data_preprocessor=dict(trim_words=False), decode_head=dict(official_compat=True, target_threshold=0.0))
