# LAVT with MagNet's two-way bridges (CAM) after every stage of both towers in place of its own.
_base_ = 'lavt.py'

model = dict(
    text_encoder=dict(stage_ends=(1, 2, 3, 4)),
    neck=dict(_delete_=True, type='CrossModalAlignment', pool_sizes=(1, 2), text_side=True),
)
