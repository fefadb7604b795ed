# The baseline of the ablation: LAVT in miniature, 900 steps of 16 on the easy synthetic set.
_base_ = [
    '../_base_/models/lavt_tiny.py',
    '../_base_/datasets/synthetic_ablation.py',
    '../_base_/schedules/adamw_poly_ablation.py',
    '../_base_/default_runtime.py',
]

model = dict(text_encoder=dict(config=dict(vocab_size=160), mask_token_id=4))
