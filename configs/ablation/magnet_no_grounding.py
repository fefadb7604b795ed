# Full MagNet without Mask Grounding.
_base_ = 'magnet.py'

model = dict(
    auxiliary_head=[
        dict(
            type='AlignmentHead',
            loss=dict(type='CrossModalAlignmentLoss', num_samples=64, loss_weight=0.5, **_base_.sharp),
        )
    ]
)
