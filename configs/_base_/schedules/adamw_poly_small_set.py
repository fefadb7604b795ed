# A few hundred refs need many epochs. A pretrained text encoder learns ten times slower and without decay. MMEngine
# follows the longest key that matches, so the position table is named again.
_base_ = 'adamw_poly_tiny.py'

slower = dict(lr_mult=0.1, decay_mult=0.0)
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={'text_encoder': slower, 'text_encoder.embeddings.position_embeddings': slower},
    )
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=100, by_epoch=False),
    dict(type='PolyLR', eta_min=0.0, power=0.9, begin=0, end=80, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=80, val_interval=20)
default_hooks = dict(checkpoint=dict(interval=10))
