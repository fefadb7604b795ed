# LAVT + cross-modal alignment loss, on the features that its logits are read from.
_base_ = '../lavt_swin_b.py'

model = dict(auxiliary_head=[dict(type='AlignmentHead', loss=dict(type='CrossModalAlignmentLoss', loss_weight=0.015))])
