# LAVT trained by the Dice loss of the foreground in place of the weighted cross-entropy.
_base_ = 'lavt_swin_b.py'

model = dict(decode_head=dict(loss_decode=dict(ce_weight=0.0, dice_weight=1.0)))
