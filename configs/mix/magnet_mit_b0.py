# MagNet with SegFormer's smallest encoder, MiT-B0, as image encoder.
_base_ = '../magnet_swin_b.py'

weights = 'https://mmassets.onedl.ai/mmsegmentation/v0.5/pretrain/segformer/mit_b0_20220624-7e0fe6dd.pth'
model = dict(
    backbone=dict(
        _delete_=True,
        type='MixVisionTransformer',
        embed_dims=32,
        num_layers=(2, 2, 2, 2),
        num_heads=(1, 2, 5, 8),
        init_cfg=dict(type='Pretrained', checkpoint=weights),
    )
)
