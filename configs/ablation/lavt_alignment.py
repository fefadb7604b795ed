# LAVT + cross-modal alignment loss, on the features of its logits. A weight of 0.015 is relative to LAVT's cross
# entropy what 0.5 is relative to MagNet's mask losses.
_base_ = 'lavt.py'

model = dict(
    auxiliary_head=[
        dict(
            type='AlignmentHead',
            loss=dict(type='CrossModalAlignmentLoss', num_samples=64, loss_weight=0.015, **_base_.sharp),
        )
    ]
)
