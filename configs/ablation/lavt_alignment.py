# LAVT + cross-modal alignment loss, on the features that its logits are read from.
_base_ = 'lavt.py'

model = dict(
    auxiliary_head=[
        dict(type='AlignmentHead', loss=dict(type='CrossModalAlignmentLoss', num_samples=64, loss_weight=0.5))
    ]
)
