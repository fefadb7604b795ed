# One GPU of 24 GB: 4 x 8 = the recipe's batch of 32, bf16, activation checkpointing (docs/memory_speed.md).
_base_ = 'magnet_swin_b.py'

model = dict(
    backbone=dict(with_cp=True),
    text_encoder=dict(with_cp=True),
    neck=dict(with_cp=True),
    decode_head=dict(with_cp=True),
)
optim_wrapper = dict(type='AmpOptimWrapper', dtype='bfloat16', accumulative_counts=4)
