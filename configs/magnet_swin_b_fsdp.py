# magnet_swin_b.py with gradients and optimizer state shared out over the GPUs by PyTorch's FSDP (docs/cluster.md).
# At least two processes, a GPU each. The network is one unit of FSDP: its stages are called one by one.
_base_ = 'magnet_swin_b.py'

runner_type = 'FlexibleRunner'
strategy = dict(
    type='ResumableFSDPStrategy',
    state_dict_cfg='full',  # checkpoints as of other trainings, written by the first process
    model_wrapper=dict(
        type='MMFullyShardedDataParallel',
        sharding_strategy='SHARD_GRAD_OP',
        use_orig_params=True,  # `paramwise_cfg` goes by names
    ),
)
