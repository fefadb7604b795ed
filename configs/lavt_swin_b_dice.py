# LAVT trained by the Dice loss of the foreground in place of the weighted cross-entropy.
_base_ = 'lavt_swin_b.py'

model = dict(
    decode_head=dict(
        loss_decode=dict(_delete_=True, type='DiceLoss', use_sigmoid=False, naive_dice=True, ignore_index=0)
    )
)
