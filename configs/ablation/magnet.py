# Full MagNet in miniature, trained as lavt.py is. The weight of Mask Grounding grows.
_base_ = [
    '../_base_/models/magnet_tiny.py',
    '../_base_/datasets/synthetic_ablation.py',
    '../_base_/schedules/adamw_poly_ablation.py',
    '../_base_/default_runtime.py',
]

settings = dict(mask_prob=0.5, extra_masked_pass=True, loss_weight=0.1, loss_weight_warmup_iters=900)
model = dict(
    text_encoder=dict(config=dict(vocab_size=160), mask_token_id=4),
    auxiliary_head=[
        dict(type='MaskGroundingHead', **_base_.small_predictor, **settings),
        dict(
            type='AlignmentHead',
            loss=dict(type='CrossModalAlignmentLoss', num_samples=64, loss_weight=0.5, **_base_.sharp),
        ),
    ],
)
