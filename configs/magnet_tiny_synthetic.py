# MagNet in miniature on the easy synthetic set, from nothing, in half an hour on two CPU cores.
_base_ = [
    '_base_/models/magnet_tiny.py',
    '_base_/datasets/synthetic.py',
    '_base_/schedules/adamw_poly_tiny.py',
    '_base_/default_runtime.py',
]

model = dict(text_encoder=dict(config=dict(vocab_size=160), mask_token_id=4))
