# As adamw_poly_tiny.py, for 2 epochs of which only the end is scored.
_base_ = 'adamw_poly_tiny.py'

param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=100, by_epoch=False),
    dict(type='PolyLR', eta_min=0.0, power=0.9, begin=0, end=2, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=2, val_interval=2)
