# ReLA in miniature, trained as lavt.py is.
_base_ = [
    '../_base_/models/rela_tiny.py',
    '../_base_/datasets/synthetic_ablation.py',
    '../_base_/schedules/adamw_poly_ablation.py',
    '../_base_/default_runtime.py',
]

model = dict(text_encoder=dict(config=dict(vocab_size=160), mask_token_id=4))
