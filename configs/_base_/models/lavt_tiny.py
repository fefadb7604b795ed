# LAVT in miniature, with the encoders of magnet_tiny.py.
_base_ = 'magnet_tiny.py'

model = dict(
    text_encoder=dict(stage_ends=(4, 4, 4, 4)),
    neck=dict(pool_sizes=(), bidirectional=False, norm='instance', gate_activation='relu'),
    decode_head=dict(_delete_=True, type='LAVTHead', feat_channels=64),
    auxiliary_head=[],
)
