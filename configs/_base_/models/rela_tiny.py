# ReLA in miniature, with the encoders of magnet_tiny.py. There is always a target, so the mask is never emptied.
_base_ = 'lavt_tiny.py'

model = dict(
    decode_head=dict(
        _delete_=True,
        type='ReLAHead',
        feat_channels=64,
        num_queries=16,
        num_groups=8,
        num_heads=4,
        num_points=2,
        pixel_decoder_layers=1,
        pixel_decoder_ffn=128,
        decoder_layers=3,
        decoder_ffn=128,
        target_threshold=0.0,
    ),
)
