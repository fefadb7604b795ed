# MagNet with mmseg's own Swin-T, split where its maps leave the stages, as image encoder.
_base_ = '../magnet_swin_b.py'

weights = 'https://mmassets.onedl.ai/mmsegmentation/v0.5/pretrain/swin/'
weights += 'swin_tiny_patch4_window7_224_20220317-1cdeb081.pth'
model = dict(
    backbone=dict(
        _delete_=True,
        type='SwinTransformer',
        drop_path_rate=0.2,
        init_cfg=dict(type='Pretrained', checkpoint=weights),
    )
)
