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
        embed_dims=128,
        depths=(2, 2, 18, 2),
        num_heads=(4, 8, 16, 32),
        window_size=12,
        drop_path_rate=0.3,
        pretrained='pretrained/swin_base_patch4_window12_384_22k.pth',
    ),
    text_encoder=dict(
        type='StagedBert',
        config=dict(model_type='bert'),  # BERT-base
        stage_ends=(3, 6, 9, 12),
        pretrained='bert-base-uncased',
    ),
    neck=dict(type='CrossModalAlignmentModule', pool_sizes=(1, 2, 3, 6), bidirectional=True),
    decode_head=dict(type='MagNetHead', loss_decode=dict(type='BCEDiceLoss', bce_weight=2.0, dice_weight=2.0)),
    auxiliary_head=[
        dict(type='MaskGroundingHead', mask_prob=0.15, extra_masked_pass=False, loss_weight=1.0),
        dict(type='AlignmentHead', loss=dict(type='CrossModalAlignmentLoss', loss_weight=0.5)),
    ],
)
