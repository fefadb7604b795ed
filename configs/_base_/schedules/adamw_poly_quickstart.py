# One pass in 960 steps: a rate for a schedule this short, and a memory (`betas`) as short. A rate of 2.5e-3 learned
# more slowly.
_base_ = 'adamw_poly_40e.py'

optim_wrapper = dict(optimizer=dict(lr=1.5e-3, betas=(0.9, 0.98)), clip_grad=dict(max_norm=5.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=60, by_epoch=False),
    dict(type='PolyLR', eta_min=0.0, power=0.9, begin=0, end=1, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=1)
default_hooks = dict(logger=dict(interval=20))
