# MagNet in miniature: the same parts, small enough to learn small sets from nothing on a laptop's CPU.
# a predictor and temperatures that suit a network this small; the author's are for the full size
small_predictor = dict(num_layers=2, num_heads=4, width=None, ffn_width=None, bert_style=False, dropout=0.0)
sharp = dict(pixel_temperature=0.07, text_temperature=0.07)

model = dict(
    type='ReferringSegmentor',
    data_preprocessor=dict(
        type='ReferringPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        size_divisor=1,
    ),
    backbone=dict(
        type='StagedSwin',
        embed_dims=24,
        depths=(1, 1, 2, 1),
        num_heads=(1, 2, 4, 8),
        window_size=4,
        drop_path_rate=0.0,
    ),
    text_encoder=dict(
        type='StagedBert',
        config=dict(
            model_type='bert',
            vocab_size=30522,
            hidden_size=96,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=192,
            max_position_embeddings=64,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        ),
        stage_ends=(1, 2, 3, 4),
    ),
    neck=dict(type='CrossModalAlignmentModule', pool_sizes=(1, 2), bidirectional=True),
    decode_head=dict(
        type='MagNetHead',
        feat_channels=64,
        num_groups=8,
        num_heads=4,
        num_points=2,
        pixel_decoder_layers=1,
        pixel_decoder_ffn=128,
        decoder_layers=3,
        decoder_ffn=128,
    ),
    auxiliary_head=[
        # an extra pass: masking the only one would starve a text encoder that learns from nothing. A weight of 0.1: at
        # 1.0 it learns which words go together, and fails on pairs of colour and shape that it has not seen.
        dict(type='MaskGroundingHead', extra_masked_pass=True, loss_weight=0.1, **small_predictor),
        dict(type='AlignmentHead', loss=dict(type='CrossModalAlignmentLoss', num_samples=64, loss_weight=0.5, **sharp)),
    ],
)
