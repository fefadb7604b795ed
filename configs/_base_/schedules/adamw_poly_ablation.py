# adamw_poly_tiny.py for one epoch, which another process scores.
_base_ = 'adamw_poly_tiny.py'

param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=100, by_epoch=False),
    dict(type='PolyLR', eta_min=0.0, power=0.9, begin=0, end=1, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=1, val_begin=2)
