# LAVT + Mask Grounding.
_base_ = 'lavt.py'

model = dict(
    auxiliary_head=[
        dict(type='MaskGroundingHead', forward_mode='separate', num_layers=2, num_heads=4, dropout=0.0, loss_weight=0.1)
    ]
)
