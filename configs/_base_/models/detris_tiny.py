# DETRIS in miniature. Its frozen encoders have random weights here, so it shows how the parts work, not how well.
_base_ = 'cris_tiny.py'

model = dict(
    data_preprocessor=dict(share_images=False, trim_words=False),
    backbone=dict(
        _delete_=True,
        type='AdaptedDINOv2',
        embed_dims=96,
        depth=4,
        num_heads=4,
        patch_size=8,
        pretrain_size=64,
        adapter_width=32,
        adapter_blocks=(0, 1, 2, 3),
        adapter_cross_width=32,
        adapter_heads=4,
        out_blocks=(1, 2),
    ),
    text_encoder=dict(hide_pads=False, adapter_width=32, adapter_layers=(0, 1, 2, 3)),
    neck=dict(_delete_=True, type='DETRISNeck', width=96),
)
