# DETRIS with DINOv2-L.
_base_ = 'detris_vitb.py'

model = dict(
    backbone=dict(
        embed_dims=1024,
        depth=24,
        num_heads=16,
        adapter_blocks=(2, 6, 10, 14, 18, 22),
        out_blocks=(8, 16),
        pretrained='pretrained/dinov2_vitl14_reg4_pretrain.pth',
    )
)
