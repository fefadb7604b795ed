# CRIS (arXiv 2111.15174): CLIP's ResNet-50 and text transformer; places read the words, and the expression is a kernel.
# OpenAI publishes RN50 as a TorchScript archive; its weights alone go to this file (docs/methods/cris.md).
clip = 'pretrained/clip_rn50.pth'

model = dict(
    type='ReferringSegmentor',
    encoding='text_first',
    data_preprocessor=dict(
        type='ReferringPreProcessor',
        mean=[122.7709383, 116.7460125, 104.09373615],  # CLIP's
        std=[68.5005327, 66.6321579, 70.32316305],
        bgr_to_rgb=True,
        size_divisor=1,
        share_images=True,
    ),
    backbone=dict(type='CLIPResNet', depths=(3, 4, 6, 3), width=64, embed_dims=1024, pretrained=clip),
    text_encoder=dict(type='StagedClipText', config={}, stage_ends=(12,), sentence_channels=1024, pretrained=clip),
    neck=dict(type='CRISNeck', widths=(256, 512, 1024)),
    decode_head=dict(type='CRISHead', num_layers=3, num_heads=8, ffn_width=2048, threshold=0.35),
)
