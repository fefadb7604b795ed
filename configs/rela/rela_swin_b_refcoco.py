# ReLA on RefCOCO (unc), with the recipe of gRefCOCO [R]. There is always a target, so the mask is never emptied.
_base_ = [
    '../_base_/models/rela_swin_b.py',
    '../_base_/datasets/refcoco.py',
    '../_base_/schedules/adamw_step_150k.py',
    '../_base_/default_runtime.py',
]

model = dict(decode_head=dict(target_threshold=0.0))
train_dataloader = dict(batch_size=6, sampler=dict(infinite=True))  # times 8 GPUs = 48
log_processor = dict(by_epoch=False)
