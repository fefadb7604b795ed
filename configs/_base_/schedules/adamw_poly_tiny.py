# adamw_poly_40e.py with a higher rate and a warm-up, for short trainings from scratch on a CPU.
_base_ = 'adamw_poly_40e.py'

optim_wrapper = dict(optimizer=dict(lr=1e-3), clip_grad=dict(max_norm=5.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=100, by_epoch=False),
    dict(type='PolyLR', eta_min=0.0, power=0.9, begin=0, end=3, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=3)
default_hooks = dict(logger=dict(interval=20))
