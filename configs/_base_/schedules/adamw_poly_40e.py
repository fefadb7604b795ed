# AdamW 5e-5 at an effective batch of 32, poly decay per iteration, 40 epochs; an epoch is one pass over the refs
# (the author's values [A] in the reproduction notes). With fewer GPUs than 32 / batch_size raise `accumulative_counts`.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='GroupingOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=5e-5, weight_decay=0.01, fused=True),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys={
            'relative_position_bias_table': dict(decay_mult=0.0),
            'position_embeddings': dict(decay_mult=0.0),
            'level_embed': dict(decay_mult=0.0),
            'query_embed': dict(decay_mult=0.0),
            'in_proj_bias': dict(decay_mult=0.0),
        },
    ),
)
param_scheduler = [
    dict(type='PolyLR', eta_min=0.0, power=0.9, begin=0, end=40, by_epoch=True, convert_to_iter_based=True)
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=40, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(
    runtime_info=dict(type='LazyRuntimeInfoHook'),
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='AtomicCheckpointHook', interval=1, max_keep_ckpts=2, save_best='ref/oIoU', rule='greater'),
    sampler_seed=dict(type='EpochSamplerHook'),
    iter_seed=dict(type='IterSeedHook'),
    finite_loss=dict(type='SkipNonFiniteHook', max_skips=5),
)
