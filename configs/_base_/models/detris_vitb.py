# DETRIS (arXiv 2501.08580): frozen DINOv2-B with registers and frozen CLIP text transformer of ViT-B/16, with adapters;
# CRIS's head. Adapters mix a word with its neighbours, so padded words are read and never cut off.
model = dict(
    type='ReferringSegmentor',
    encoding='text_first',
    data_preprocessor=dict(
        type='ReferringPreProcessor',
        mean=[122.7709383, 116.7460125, 104.09373615],  # CLIP's, although the image encoder is DINOv2's [O]
        std=[68.5005327, 66.6321579, 70.32316305],
        bgr_to_rgb=True,
        size_divisor=1,
        trim_words=False,
    ),
    backbone=dict(
        type='AdaptedDINOv2',
        embed_dims=768,
        depth=12,
        num_heads=12,
        pretrain_size=526,
        adapter_width=128,
        adapter_blocks=(1, 3, 5, 7, 9, 11),
        out_blocks=(4, 8),
        pretrained='pretrained/dinov2_vitb14_reg4_pretrain.pth',
    ),
    text_encoder=dict(
        type='StagedClipText',
        config={},
        stage_ends=(12,),
        sentence_channels=512,
        hide_pads=False,
        adapter_width=64,
        adapter_layers=(1, 3, 5, 7, 9, 11),
        pretrained='openai/clip-vit-base-patch16',
    ),
    neck=dict(type='DETRISNeck', width=512),
    decode_head=dict(type='CRISHead', num_layers=3, num_heads=8, ffn_width=512, threshold=0.35),
)
