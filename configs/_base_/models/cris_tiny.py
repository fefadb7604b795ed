# CRIS in miniature: a small ResNet and text transformer of CLIP's kind, from random weights.
model = dict(
    type='ReferringSegmentor',
    encoding='text_first',
    data_preprocessor=dict(
        type='ReferringPreProcessor',
        mean=[122.7709383, 116.7460125, 104.09373615],
        std=[68.5005327, 66.6321579, 70.32316305],
        bgr_to_rgb=True,
        size_divisor=1,
        share_images=True,
    ),
    backbone=dict(type='CLIPResNet', depths=(1, 1, 1, 1), width=16, embed_dims=128, pretrain_size=64),
    text_encoder=dict(
        type='StagedClipText',
        config=dict(
            vocab_size=49408,
            hidden_size=96,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=192,
            max_position_embeddings=64,
        ),
        stage_ends=(4,),
        sentence_channels=96,
    ),
    neck=dict(type='CRISNeck', widths=(64, 96, 128)),
    decode_head=dict(type='CRISHead', num_layers=2, num_heads=4, ffn_width=192, dropout=0.0, threshold=0.35),
)
