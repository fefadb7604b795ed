# LAVT with MagNet's two-way alignment modules (CAM) after every stage of both encoders in place of its own.
_base_ = 'lavt.py'

model = dict(
    text_encoder=dict(stage_ends=(1, 2, 3, 4)),
    neck=dict(_delete_=True, type='CrossModalAlignmentModule', pool_sizes=(1, 2), bidirectional=True),
)
